"""No request of a stranger reaches an address that is not public, whatever URLs, DNS and redirects say.

The «public» host of these tests is 127.0.0.2, allowed by name; what must not be reached is 127.0.0.1, where a
real server counts its visitors. Nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import aiohttp
import pytest

from mosic.errors import RemoteFailed, RemoteRefused
from mosic.remote import Remote

if TYPE_CHECKING:
    from tests.remote.conftest import Source

OK = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 5\r\n\r\nhello"
PUBLIC, INSIDE = "127.0.0.2", "127.0.0.1"
UNSPECIFIED = "0.0.0.0"  # noqa: S104  (nothing is bound: Linux takes it for loopback when connecting)


def has_public() -> bool:
    """Linux answers on all of 127.0.0.0/8, other systems on 127.0.0.1 alone."""
    with socket.socket() as probe:
        try:
            probe.bind((PUBLIC, 0))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not has_public(), reason=f"needs {PUBLIC} on the loopback interface")


class Names:
    """DNS that gives its answers one after the other and repeats the last."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.answers = [list(answer) for answer in answers]
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def guarded(names: Names, timeout_seconds: float = 5) -> Remote:
    return Remote(allow_private=False, timeout_seconds=timeout_seconds, also_allow=[PUBLIC], resolve=names)


@pytest.fixture
async def inside(source: type[Source]) -> AsyncIterator[tuple[Source, int]]:
    """What must stay unvisited: a server on 127.0.0.1."""
    server = source(OK)
    async with server.running(INSIDE) as url:
        yield server, int(url.rpartition(":")[2].partition("/")[0])
    assert server.connections == 0


async def fetch(remote: Remote, url: str) -> bytes:
    answer = await remote.open(url)
    body = b"".join([chunk async for chunk in answer.body])
    await answer.close()
    return body


async def test_a_name_is_asked_once_and_its_address_is_connected_to(source: type[Source]) -> None:
    names = Names([PUBLIC])
    async with source(OK).running(PUBLIC) as url, guarded(names) as remote:
        assert await fetch(remote, url.replace(PUBLIC, "host.example")) == b"hello"
    assert names.asked == ["host.example"]


@pytest.mark.parametrize(
    "host",
    [INSIDE, "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", UNSPECIFIED],
)
async def test_an_address_inside_is_refused_however_it_is_written(
    inside: tuple[Source, int], host: str
) -> None:
    async with guarded(Names([INSIDE])) as remote:
        with pytest.raises(RemoteRefused):
            await remote.check(f"http://{host}:{inside[1]}/")
        with pytest.raises(RemoteFailed, match="not allowed"):
            await remote.open(f"http://{host}:{inside[1]}/")


@pytest.mark.parametrize(
    "address",
    [
        INSIDE,
        "::1",
        "::ffff:127.0.0.1",
        UNSPECIFIED,
        "::",
        "10.0.0.1",
        "169.254.169.254",
        "fe80::1%lo",
        "fd00:ec2::254",
    ],
)
async def test_a_name_that_leads_inside_is_refused(inside: tuple[Source, int], address: str) -> None:
    async with guarded(Names([address])) as remote:
        with pytest.raises(RemoteRefused):
            await remote.check(f"http://host.example:{inside[1]}/")
        with pytest.raises(RemoteFailed, match="not allowed") as failed:
            await remote.open(f"http://host.example:{inside[1]}/")
    assert address not in failed.value.detail


async def test_of_several_addresses_only_the_allowed_ones_are_used(
    source: type[Source], inside: tuple[Source, int]
) -> None:
    names = Names([INSIDE, "::1", "10.0.0.1", PUBLIC, "169.254.169.254"])
    async with source(OK).running(PUBLIC) as url, guarded(names) as remote:
        await remote.check(url.replace(PUBLIC, "host.example"))
        assert await fetch(remote, url.replace(PUBLIC, "host.example")) == b"hello"


async def test_a_name_that_turns_inward_after_the_check_gains_nothing(inside: tuple[Source, int]) -> None:
    names = Names(["93.184.216.34"], [INSIDE])
    url = f"http://host.example:{inside[1]}/"
    async with guarded(names) as remote:
        await remote.check(url)
        with pytest.raises(RemoteFailed, match="not allowed"):
            await remote.open(url)


async def test_a_name_that_turns_inward_between_two_fetches_gains_nothing(source: type[Source]) -> None:
    names = Names([PUBLIC], [INSIDE])
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with source(closing).running(PUBLIC) as url, guarded(names) as remote:
        named = url.replace(PUBLIC, "host.example")
        assert await fetch(remote, named) == b"hello"
        with pytest.raises(RemoteFailed, match="not allowed"):
            await remote.open(named)


async def test_a_kept_connection_stays_with_the_address_that_was_checked(source: type[Source]) -> None:
    names = Names([PUBLIC], [INSIDE])
    server = source(OK)
    async with server.running(PUBLIC) as url, guarded(names) as remote:
        named = url.replace(PUBLIC, "host.example")
        assert [await fetch(remote, named) for _ in range(3)] == [b"hello"] * 3
    assert (server.connections, len(names.asked)) == (1, 1)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{}/",
        "//127.0.0.1:{}/",
        "http://localhost:{}/",
        "http://inside.example:{}/",
        "http://[::1]:{}/",
        "http://2130706433:{}/",
        "http://[::ffff:127.0.0.1]:{}/",
        "http://a@127.0.0.1:{}/",
        "http://127.0.0.1.:{}/",
    ],
)
@pytest.mark.parametrize("hops", [0, 2])
async def test_a_redirect_inward_is_not_followed(
    source: type[Source], inside: tuple[Source, int], target: str, hops: int
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        last = len(server.heads) > hops
        location = target.format(inside[1]) if last else f"/{len(server.heads)}"
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    server = source(answer)
    async with server.running(PUBLIC) as url, guarded(Names([INSIDE])) as remote:
        with pytest.raises(RemoteFailed, match="not allowed"):
            await remote.open(url)
    assert len(server.heads) == hops + 1


async def test_even_a_library_that_resolves_by_itself_opens_no_connection_inward(
    inside: tuple[Source, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve_host(
        self: object, host: str, port: int, traces: object = None
    ) -> list[dict[str, object]]:
        return [
            {"hostname": host, "host": INSIDE, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        ]

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolve_host)
    async with guarded(Names([PUBLIC])) as remote:
        with pytest.raises(RemoteFailed):
            await remote.open(f"http://host.example:{inside[1]}/")


async def test_a_proxy_of_the_environment_is_not_used(
    source: type[Source], inside: tuple[Source, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{inside[1]}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with source(OK).running(PUBLIC) as url, guarded(Names([PUBLIC])) as remote:
        assert await fetch(remote, url.replace(PUBLIC, "host.example")) == b"hello"


async def test_private_addresses_can_be_allowed_and_nothing_else_with_them(source: type[Source]) -> None:
    names = Names([INSIDE])
    async with (
        source(OK).running(INSIDE) as url,
        Remote(allow_private=True, timeout_seconds=5, resolve=names) as remote,
    ):
        for host in (INSIDE, "host.example", "localhost", "nas"):
            await remote.check(url.replace(INSIDE, host))
            assert await fetch(remote, url.replace(INSIDE, host)) == b"hello"
        for host in ("169.254.169.254", UNSPECIFIED, "[fd00:ec2::254]", "127.1"):
            with pytest.raises(RemoteRefused):
                await remote.check(url.replace(INSIDE, host))
            with pytest.raises(RemoteFailed, match="not allowed"):
                await remote.open(url.replace(INSIDE, host))


async def test_a_name_that_dns_does_not_know_yet_may_be_added() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def silent(host: str, port: int) -> list[str]:
        await asyncio.sleep(600)
        return [INSIDE]

    async with asyncio.timeout(60):
        for resolve in (unknown, silent):
            async with Remote(allow_private=False, timeout_seconds=0.1, resolve=resolve) as remote:
                await remote.check("https://host.example/song.mp3")


async def test_a_literal_is_checked_without_dns() -> None:
    names = Names([INSIDE])
    async with guarded(names) as remote:
        await remote.check("http://93.184.216.34/song.mp3")
        await remote.check("http://[2606:4700:4700::1111]/song.mp3")
    assert names.asked == []
