"""Addresses in answers, as clients reach the service; and whose word about them is believed."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from starlette.requests import Request

from mosic.errors import StartupError
from mosic.settings import Settings, load_settings
from mosic.web.proxies import client_address, described
from mosic.web.urls import Urls
from mosic.wire.forwarded import FIELDS
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.speed import slowness

PROXY, OTHER_PROXY, STRANGER = "10.0.0.1", "2001:db8::7", "198.51.100.9"
TRUSTED = "10.0.0.0/8, 2001:db8::/32"


def base(
    *headers: tuple[str, str],
    peer: str | None = PROXY,
    trusted: str = TRUSTED,
    public_url: str | None = None,
    host: str = "inner:8000",
) -> str:
    """What answers begin with, of a request with these header fields."""
    fields = [("host", host), *headers]
    request = Request(
        {
            "type": "http",
            "scheme": "http",
            "server": ("127.0.0.1", 8000),
            "client": (peer, 12345) if peer else None,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in fields],
        }
    )
    settings = Settings(forwarded_allow_ips=trusted, public_url=public_url)
    return Urls.of(request, settings).base


FULL = [
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "music.example"),
    ("X-Forwarded-Prefix", "/audio/"),
    ("X-Forwarded-For", "203.0.113.5"),
]


def test_what_a_trusted_proxy_says() -> None:
    assert base() == "http://inner:8000"
    assert base(*FULL) == "https://music.example/audio"
    assert base(("X-Forwarded-Proto", "https")) == "https://inner:8000"
    assert base(("X-Forwarded-Host", "[2001:db8::1]:8443")) == "http://[2001:db8::1]:8443"


@pytest.mark.parametrize("peer", [STRANGER, "testclient", "", None])
def test_nobody_else_is_believed(peer: str | None) -> None:
    assert base(*FULL, peer=peer) == "http://inner:8000"
    assert base(("Forwarded", "host=evil.example;proto=https"), peer=peer) == "http://inner:8000"


@pytest.mark.parametrize("peer", [STRANGER, PROXY, "testclient", None])
def test_a_star_trusts_one_hop_the_nearest(peer: str | None) -> None:
    """Before the word of the proxy stands what the client wrote: it is never read, wherever it comes from."""
    assert base(*FULL, peer=peer, trusted="*") == "https://music.example/audio"
    for client in ("6.6.6.6", "10.0.0.1", "127.0.0.1", "unknown", ""):
        fields = [
            ("X-Forwarded-For", f"{client}, {client}, 203.0.113.5"),
            ("X-Forwarded-Host", "evil.example, evil.example, music.example"),
            ("X-Forwarded-Proto", "http, http, https"),
            ("X-Forwarded-Prefix", "/evil, /evil, /audio"),
        ]
        assert base(*fields, peer=peer, trusted="*") == "https://music.example/audio"
        said = f"for={client};host=evil.example, for=203.0.113.5;host=music.example"
        assert base(("Forwarded", said), peer=peer, trusted="*") == "http://music.example"


def test_a_star_trusts_further_proxies_that_are_named() -> None:
    fields = [
        ("X-Forwarded-For", "6.6.6.6, 203.0.113.5, 10.0.0.1"),
        ("X-Forwarded-Host", "evil.example, music.example, middle"),
    ]
    assert base(*fields, peer=STRANGER, trusted="*") == "http://middle"
    assert base(*fields, peer=STRANGER, trusted="*, 10.0.0.0/8") == "http://music.example"


def test_whose_keys_are_counted() -> None:
    """Behind a proxy at any address, a client cannot make itself another one by what it writes in front."""

    def client(*headers: tuple[str, str], trusted: str = "*") -> str | None:
        fields = [(name.lower().encode(), value.encode()) for name, value in headers]
        scope = {"client": (PROXY, 1), "headers": fields}
        return client_address(scope, trusted)

    for made_up in ("6.6.6.6", "7.7.7.7, 8.8.8.8", PROXY, "unknown"):
        assert client(("X-Forwarded-For", f"{made_up}, 203.0.113.5")) == "203.0.113.5"
        assert client(("X-Forwarded-For", made_up), ("X-Forwarded-For", "203.0.113.5")) == "203.0.113.5"
        for_made_up = made_up.replace(", ", ", for=")
        assert client(("Forwarded", f"for={for_made_up}, for=203.0.113.5")) == "203.0.113.5"
    assert client(("X-Forwarded-For", "6.6.6.6"), trusted="192.0.2.1") == PROXY
    assert client(("X-Forwarded-For", "6.6.6.6, unknown")) == PROXY
    assert client(("Forwarded", 'for="[2001:db8::9]:4711"')) == "2001:db8::9"


def test_nothing_is_read_of_a_peer_that_is_not_trusted() -> None:
    """Whatever it costs to read, strangers cannot have it."""

    class Unread(bytes):
        def __len__(self) -> int:
            raise AssertionError("read")

    fields = [(name, Unread(b"for=6.6.6.6")) for name in FIELDS]
    scope = {"client": (STRANGER, 1), "headers": fields}
    assert described(scope, TRUSTED) == {}
    assert client_address(scope, TRUSTED) == STRANGER
    of_proxy = {"client": (PROXY, 1), "headers": [(b"forwarded", Unread(b"for=6.6.6.6"))]}
    with pytest.raises(AssertionError, match="read"):
        described(of_proxy, TRUSTED)


def test_a_proxy_that_comes_over_both_kinds_of_ip() -> None:
    assert base(*FULL, peer="::ffff:10.0.0.1") == "https://music.example/audio"
    assert base(*FULL, peer=f"::ffff:{STRANGER}") == "http://inner:8000"


def test_the_public_url_wins() -> None:
    assert base(*FULL, public_url="https://cdn.example/m/") == "https://cdn.example/m"


@pytest.mark.parametrize(
    "text", ["https://a.example:99999", "https://me:secret@a.example", "https://a..example"]
)
def test_a_public_url_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_PUBLIC_URL", text)
    with pytest.raises(StartupError, match="MOSIC_PUBLIC_URL"):
        load_settings(env_file=None)


async def test_a_public_url_in_another_script_fits_into_every_answer(
    tmp_path: Path, database_url: URL
) -> None:
    """Header fields are ASCII: RFC 9110 §5.5."""
    given: dict[str, Any] = {"public_url": "https://музыка.example/аудио/"}
    written = "https://xn--80anjg9azc.example/%D0%B0%D1%83%D0%B4%D0%B8%D0%BE"
    tus = {**AUTH, "Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    async with running_service(tmp_path / "media", shown(database_url), **given) as service:
        made = await service.http.post("/play/uploads", headers=tus)
        assert (made.status_code, made.headers["location"].rpartition("/play/")[0]) == (201, written)
        sent = await service.http.post("/play/upload", content=wav(0.1), headers=AUTH)
        assert sent.headers["location"].startswith("/%D0%B0")
        await service.http.post("/play/upload", content=wav(0.2), headers=AUTH)
        listed = await service.http.get("/play", params={"limit": 1})
        assert listed.headers["link"].startswith(f"<{written}/play?")
        for page in ("/docs", "/openapi.json"):
            assert (await service.http.get(page)).status_code == 200


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("for=203.0.113.5;host=music.example;proto=https", "https://music.example"),
        ('For="203.0.113.5:80"; Proto=HTTPS ;Host="music.example:8443"', "https://music.example:8443"),
        ('host="mu\\sic.example"', "http://music.example"),
        ('for="[2001:db8:1::1]:47011";host=music.example', "http://music.example"),
        # What comes from before the first trusted proxy is anybody's word.
        ("host=evil.example, for=203.0.113.5;host=music.example", "http://music.example"),
        # Two trusted proxies: the outer one knows the name that the client used.
        ('for=203.0.113.5;host=music.example, for="[2001:db8::7]";host=middle', "http://music.example"),
        ("host=evil.example, for=203.0.113.5;host=music.example, for=10.9.9.9", "http://music.example"),
        ("for=unknown;host=music.example", "http://music.example"),
        ('for="_hidden, host=evil.example"', "http://inner:8000"),
        ("host=a/b;proto=gopher", "http://inner:8000"),
        (";;,,=;host", "http://inner:8000"),
        ('host="unclosed', "http://inner:8000"),
        ('for=203.0.113.5;host="unclosed, for=203.0.113.5;host=music.example', "http://inner:8000"),
        ("host=one.example;host=two.example", "http://inner:8000"),
        ('host=a"b"', "http://inner:8000"),
        ("host=\\a", "http://inner:8000"),
        ('for="1.2.3.4\\";host=evil.example", for=203.0.113.5;host=music.example', "http://music.example"),
    ],
)
def test_forwarded(said: str, expected: str) -> None:
    """RFC 7239."""
    assert base(("Forwarded", said)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # A proxy that adds to what the client sent: only its own word counts.
        (
            [
                ("X-Forwarded-Host", "evil.example, music.example"),
                ("X-Forwarded-For", "1.1.1.1, 203.0.113.5"),
            ],
            "http://music.example",
        ),
        # Through two trusted proxies that add.
        (
            [
                ("X-Forwarded-Host", "evil.example, music.example, middle"),
                ("X-Forwarded-Proto", "http, https, http"),
                ("X-Forwarded-For", f"1.1.1.1, 203.0.113.5, {OTHER_PROXY}"),
            ],
            "https://music.example",
        ),
        # The same in lines of their own.
        (
            [
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Host", "music.example"),
                ("X-Forwarded-For", "203.0.113.5"),
            ],
            "http://music.example",
        ),
        # An outer proxy that sets, and an inner one that adds only the address.
        (
            [("X-Forwarded-Host", "music.example"), ("X-Forwarded-For", f"203.0.113.5, {OTHER_PROXY}")],
            "http://music.example",
        ),
        # A client's Forwarded that a proxy with the older fields lets through.
        ([("Forwarded", "host=evil.example"), ("X-Forwarded-Proto", "https")], "https://inner:8000"),
        ([("X-Forwarded-Host", "a b"), ("X-Forwarded-Prefix", "//evil.example")], "http://inner:8000"),
        ([("X-Forwarded-Host", 'x"><script>'), ("X-Forwarded-Prefix", "no-slash")], "http://inner:8000"),
        ([("X-Forwarded-Host", "music.example:99999")], "http://inner:8000"),
        ([("X-Forwarded-Host", "[:::::]")], "http://inner:8000"),
        ([("X-Forwarded-Host", "music.example:")], "http://music.example"),
        ([("X-Forwarded-Proto", "javascript")], "http://inner:8000"),
        ([("X-Forwarded-Prefix", "/")], "http://inner:8000"),
    ],
)
def test_lists_and_nonsense(fields: list[tuple[str, str]], expected: str) -> None:
    assert base(*fields) == expected


def test_fields_without_end() -> None:
    began = time.process_time()
    assert base(("Forwarded", '"\\' * 30_000)) == "http://inner:8000"
    assert base(("Forwarded", "a=b," * 20_000 + "host=music.example")) == "http://music.example"
    assert base(("X-Forwarded-For", "10.0.0.1," * 20_000)) == "http://inner:8000"
    assert time.process_time() - began < slowness()


def test_a_host_that_is_none() -> None:
    assert base(host="<script>") == "http://127.0.0.1:8000"


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "10.0.0.1;10.0.0.2"])
def test_proxies_that_are_no_addresses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_FORWARDED_ALLOW_IPS", text)
    with pytest.raises(StartupError, match="MOSIC_FORWARDED_ALLOW_IPS"):
        load_settings()


async def test_every_address_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, database_url: URL
) -> None:
    media_root = tmp_path_factory.mktemp("urls") / "media"
    async with running_service(media_root, shown(database_url), remote_allow_private=True) as service:
        said = dict(FULL)
        given = {"title": "x", "audio_url": "http://127.0.0.1/x.mp3"}
        added = await service.http.post("/play", json=given, headers={**AUTH, **said})
        assert added.status_code == 201
        assert added.json()["stream_url"].startswith("https://music.example/audio/play/")
        created = await service.http.post(
            "/api/v1/clips/uploads",
            headers={**AUTH, **said, "Tus-Resumable": "1.0.0", "Upload-Length": "5"},
        )
        location = created.headers["Location"]
        assert location.startswith("https://music.example/audio/api/v1/clips/uploads/")


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
async def test_all_urls_are_under_the_prefix_of_the_request(service: Service, prefix: str) -> None:
    """It may be the only one that a proxy lets through."""
    http, tus = service.http, {**AUTH, "Tus-Resumable": "1.0.0"}
    top = f"http://127.0.0.1:{service.port}{prefix}"
    added = await http.post(f"{prefix}/upload", content=wav(), headers=AUTH)
    clip = added.json()
    mine = f"{top}/{clip['id']}"
    assert added.headers["Location"] == f"{prefix}/{clip['id']}"
    assert clip["stream_url"] == clip["audio_url"] == f"{mine}/stream"
    assert (await http.get(clip["stream_url"])).content == wav()
    again = await http.post(f"{prefix}/upload", content=wav(), headers=AUTH)
    assert again.headers["Location"] == f"{prefix}/{clip['id']}"
    given = {"title": "another"}
    assert (await http.patch(mine, json=given, headers=AUTH)).json()["stream_url"] == clip["stream_url"]
    assert (await http.get(f"{mine}/stats")).json()["audio_url"] == clip["stream_url"]

    whole = {"Upload-Length": str(len(wav(2))), "Content-Type": "application/offset+octet-stream"}
    made = await http.post(f"{prefix}/uploads", headers={**tus, **whole}, content=wav(2))
    assert made.headers["Location"].startswith(f"{top}/uploads/")
    assert made.headers["Content-Location"].startswith(f"{prefix}/")
    assert (await http.get(made.headers["Content-Location"])).json()["stream_url"].startswith(f"{top}/")
    empty = await http.post(f"{prefix}/uploads", headers={**tus, "Upload-Length": "5"})
    assert (await http.head(empty.headers["Location"], headers=tus)).headers["Upload-Offset"] == "0"

    page = await http.get(f"{prefix}/?limit=1")
    assert [one["stream_url"].startswith(f"{top}/") for one in page.json()] == [True]
    following = page.links["next"]["url"]
    assert following.startswith(f"{top}?limit=1&")
    assert [one["id"] for one in (await http.get(following)).json()] == [clip["id"]]


@pytest.mark.parametrize("public_url", [None, "https://music.example/audio"])
async def test_below_a_path(tmp_path: Path, database_url: URL, public_url: str | None) -> None:
    """Whatever a client is given leads back through the path that it came by: a proxy's or a setting's."""
    said = dict(FULL) if public_url is None else {}
    top, tus = "https://music.example/audio", {"Tus-Resumable": "1.0.0"}
    async with running_service(tmp_path / "media", shown(database_url), public_url=public_url) as service:
        http = service.http
        http.headers.update({**AUTH, **said})
        added = await http.post("/play/upload", content=wav())
        clip = added.json()
        path = f"/audio/play/{clip['id']}"
        assert clip["stream_url"] == clip["audio_url"] == f"https://music.example{path}/stream"
        assert added.headers["Location"] == path
        assert (await http.post("/play/upload", content=wav())).headers["Location"] == path
        assert (await http.get(f"/play/{clip['id']}/stats")).json()["audio_url"] == clip["stream_url"]
        whole = {"Upload-Length": str(len(wav(2))), "Content-Type": "application/offset+octet-stream"}
        made = await http.post("/play/uploads", headers={**tus, **whole}, content=wav(2))
        assert made.headers["Location"].startswith(f"{top}/play/uploads/")
        became = made.headers["Content-Location"]
        assert became.startswith("/audio/play/")
        upload = made.headers["Location"].removeprefix(top)
        assert (await http.head(upload, headers=tus)).headers["Content-Location"] == became
        assert (await http.get(upload)).headers["Content-Location"] == became
        assert (await http.get("/play?limit=1")).links["next"]["url"].startswith(f"{top}/play?")
        for page in ("/docs", "/api/docs", "/redoc"):
            text = (await http.get(page)).text
            assert "/audio/openapi.json" in text
            assert not re.search(r"""["'(]/(?!/|audio/)""", re.sub("<style.*?</style>", "", text, flags=re.S))
        assert (await http.get("/openapi.json")).json()["servers"] == [{"url": "/audio"}]
