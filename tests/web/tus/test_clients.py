"""The clients that people use: tuspy, aiotus and tus-js-client, over bad networks and dying services."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.flaky import flaky_network
from tests.support.house import KEY as HOUSE_KEY
from tests.support.house import House, kill
from tests.support.nginx import needs_nginx, running_nginx
from tests.support.node import packages
from tests.support.ports import free_port
from tests.support.service import KEY, Service
from tests.support.sounds import wav

HERE = Path(__file__).parent
OCTETS = "application/offset+octet-stream"
_seeds = iter(range(10**6))


@pytest.fixture(scope="session")
def node_modules(pytestconfig: pytest.Config) -> Path:
    return packages(pytestconfig, "tus-js-client", "tus-js-client@4.3.1")


class Client:
    """A client in a process of its own, with a file to upload and a place to remember where it was."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self.path = folder / "Lied №1.wav"
        self.content = wav(200, seed=next(_seeds))
        self.path.write_bytes(self.content)
        self._options: dict[str, Any] = {
            "file": str(self.path),
            "name": self.path.name,
            "key": KEY,
            "url": None,
            "urls": str(folder / "urls.json"),
            "retries": 0,
            "chunk": None,
            "stop_at": None,
            "pause": 0,
            "checksum": False,
            "extra": {},
        }

    async def start(self, service_url: str, **options: Any) -> asyncio.subprocess.Process:
        given = self._options | {"endpoint": f"{service_url}/play/uploads"} | options
        return await asyncio.create_subprocess_exec(
            *self._command, json.dumps(given), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    async def upload(self, service_url: str, **options: Any) -> str:
        """Returns the address of the upload."""
        process = await self.start(service_url, **options)
        try:
            out, errors = await asyncio.wait_for(process.communicate(), 60)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert process.returncode == 0, errors.decode()[-2000:]
        return out.decode().strip()

    async def check(self, url: str, *, key: str = KEY) -> None:
        """The upload at `url` became the one clip with the bytes of the file."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        async with tus(key) as http:
            looked = await http.head(url)
            assert looked.headers["Upload-Offset"] == str(len(self.content))
            base = url[: url.index("/play/")]
            clip = (await http.get(urljoin(url, looked.headers["Content-Location"]))).json()
            assert (clip["title"], clip["sha256"]) == (self.path.stem, sha256)
            streamed = await http.get(f"{base}/play/{clip['id']}/stream")
            assert hashlib.sha256(streamed.content).hexdigest() == sha256
            assert len((await http.get(f"{base}/play?sha256={sha256}")).json()) == 1


@pytest.fixture(params=["tuspy", "aiotus", "tus-js-client"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    if request.param == "tus-js-client":
        modules = request.getfixturevalue("node_modules")
        return Client(["node", str(HERE / "tus_client.cjs"), str(modules)], tmp_path)
    return Client([sys.executable, str(HERE / "tus_client.py"), request.param], tmp_path)


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", names, indirect=True)


def tus(key: str = KEY) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers={"X-API-Key": key, "Tus-Resumable": "1.0.0"}, timeout=60)


async def offset(http: httpx.AsyncClient, url: str) -> int:
    return int((await http.head(url)).headers["Upload-Offset"])


# As they are


@pytest.mark.parametrize("chunk", [None, 300_000])
async def test_an_upload(service: Service, client: Client, chunk: int | None) -> None:
    await client.check(await client.upload(service.url, chunk=chunk))


@only("tuspy")
async def test_with_checksums(service: Service, client: Client) -> None:
    await client.check(await client.upload(service.url, chunk=500_000, checksum=True))


@only("tus-js-client")
@pytest.mark.parametrize(
    "extra", [{"uploadDataDuringCreation": True}, {"uploadLengthDeferred": True, "chunkSize": 500_000}]
)
async def test_creations(service: Service, client: Client, extra: dict[str, Any]) -> None:
    await client.check(await client.upload(service.url, extra=extra))


# Aborted, and gone on with


@only("tuspy", "tus-js-client")
async def test_aborted_and_gone_on_with(service: Service, client: Client) -> None:
    first = await client.upload(service.url, chunk=200_000, stop_at=1_000_000)
    async with tus() as http:
        assert 1_000_000 <= await offset(http, first) < len(client.content)
    assert await client.upload(service.url, chunk=200_000) == first
    await client.check(first)


async def test_killed_and_gone_on_with(service: Service, client: Client) -> None:
    async with tus() as http:
        name = base64.b64encode(client.path.name.encode()).decode()
        metadata = {"Upload-Length": str(len(client.content)), "Upload-Metadata": f"filename {name}"}
        created = await http.post(f"{service.url}/play/uploads", headers=metadata)
        url = created.headers["Location"]
        dying = await client.start(service.url, url=url, chunk=30_000, pause=0.01)
        async with asyncio.timeout(60):
            while await offset(http, url) == 0:
                assert dying.returncode is None
                await asyncio.sleep(0.01)
        dying.send_signal(signal.SIGKILL)
        await dying.communicate()
        assert 0 < await offset(http, url) < len(client.content)
    await client.upload(service.url, url=url)
    await client.check(url)


# On a bad network


async def test_a_bad_network(service: Service, client: Client) -> None:
    troubles: Any = [(1_000_000, "cut"), (500_000, "hang"), (500_000, "cut"), (1, "hang")]
    async with flaky_network(service.port, *troubles) as network:
        url = await client.upload(f"http://127.0.0.1:{network.port}", retries=20)
        assert network.happened == [how for _, how in troubles]
        # It never began again. (What it sends to a wrong offset is lost, so not each byte goes just once.)
        again = network.bytes_up - len(client.content)
        assert again < len(client.content)
    await client.check(url.replace(str(network.port), str(service.port)))


# Behind a proxy that takes no more than a megabyte at once, under a path of its own


@needs_nginx
async def test_behind_nginx(service: Service, client: Client, tmp_path: Path) -> None:
    port = free_port()
    server = f"""
    server {{
        listen 127.0.0.1:{port};
        location /audio/ {{
            proxy_pass http://127.0.0.1:{service.port}/;
            client_max_body_size 1m;
            client_body_buffer_size 1m;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Prefix /audio;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
    """
    async with running_nginx(tmp_path / "nginx", server, port):
        base = f"http://127.0.0.1:{port}/audio"
        url = await client.upload(base, chunk=1_000_000)
        assert url.startswith(f"{base}/play/uploads/")
        await client.check(url)


# With services that die, and several processes


class Reign:
    """A service that is killed and started again, each time when more of an upload has come."""

    def __init__(self, house: House, workers: int) -> None:
        self._house = house
        self._port = free_port()
        self._arguments = ("serve", "--port", str(self._port), "--workers", str(workers))
        self.address = ("127.0.0.1", self._port)
        self.url = f"http://127.0.0.1:{self._port}"
        self.killed = 0

    async def start(self) -> None:
        self._begin()
        await self._house.url(self._process)
        async with asyncio.timeout(60), httpx.AsyncClient(timeout=60) as http:
            while True:
                with suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.05)

    def _begin(self) -> None:
        self._process = self._house.start(*self._arguments)

    async def die(self, times: int) -> None:
        for _ in range(times):
            before = self._staged()
            while self._staged() <= before:
                await asyncio.sleep(0.005)
            kill(self._process)
            self.killed += 1
            # Not waiting until it is ready: so much may have come by then that nothing is left for the next.
            self._begin()

    def _staged(self) -> int:
        return sum(path.stat().st_size for path in self._house.media.glob(".staging/*.upload"))


@asynccontextmanager
async def reigning(house: House, *, workers: int, deaths: int) -> AsyncIterator[Reign]:
    reign = Reign(house, workers)
    await reign.start()
    dying = asyncio.create_task(reign.die(deaths))
    try:
        yield reign
    finally:
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "workers"),
    [("tuspy", 1), ("aiotus", 2), ("tus-js-client", 2)],
    indirect=["client"],
)
async def test_kill_9_and_start_again(house: House, client: Client, workers: int) -> None:
    async with reigning(house, workers=workers, deaths=2) as reign:
        url = await client.upload(reign.url, key=HOUSE_KEY, chunk=100_000, pause=0.02, retries=2000)
        assert reign.killed == 2
        await client.check(url, key=HOUSE_KEY)


@pytest.mark.slow
async def test_a_stalled_connection_to_either_worker(house: House) -> None:
    """Whichever of two processes has the dead connection, and whichever the client that comes back."""
    async with reigning(house, workers=2, deaths=0) as reign:
        for n in range(8):
            audio = wav(30, seed=n)
            async with tus(HOUSE_KEY) as http:
                length = {"Upload-Length": str(len(audio))}
                url = (await http.post(f"{reign.url}/play/uploads", headers=length)).headers["Location"]
            reader, writer = await asyncio.open_connection(*reign.address)
            head = (
                f"PATCH {url} HTTP/1.1\r\nHost: [::1]\r\nX-API-Key: {HOUSE_KEY}\r\nTus-Resumable: 1.0.0\r\n"
                f"Content-Type: {OCTETS}\r\nUpload-Offset: 0\r\nContent-Length: {len(audio)}\r\n\r\n"
            )
            writer.write(head.encode() + audio[:100_000])
            await asyncio.sleep(0.2)
            # Each request on a connection of its own, so that either worker may get it.
            async with tus(HOUSE_KEY) as http:
                at = await offset(http, url)
            assert at == 100_000
            async with tus(HOUSE_KEY) as http:
                fields = {"Upload-Offset": str(at), "Content-Type": OCTETS}
                ended = await http.patch(url, headers=fields, content=audio[at:])
            assert ended.status_code == 204
            streamed = await http_get(f"{reign.url}{ended.headers['Content-Location']}/stream")
            assert streamed == audio
            assert (await reader.readline()).split()[1] == b"423"
            writer.close()


async def http_get(url: str) -> bytes:
    async with httpx.AsyncClient(timeout=60) as http:
        return (await http.get(url)).content
