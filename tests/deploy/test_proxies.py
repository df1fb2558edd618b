"""Behind a real Caddy and a real Traefik, which run the examples of deploy/ but for their certificates."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.ports import end, free_port, listening
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "music.example"
PUBLIC = f"https://{HOST}"


def changed(text: str, *changes: tuple[str, str]) -> str:
    """An example with the values that it says to change."""
    for there, here in changes:
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    return text


def caddy(folder: Path, port: int, service: int) -> list[str]:
    text = changed(
        (DEPLOY / "caddy/Caddyfile").read_text(),
        (f"{HOST} {{", f"http://{HOST}:{port} {{"),
        ("reverse_proxy 127.0.0.1:8000 {", f"reverse_proxy 127.0.0.1:{service} {{"),
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile")]


def traefik(folder: Path, port: int, service: int) -> list[str]:
    static = yaml.safe_load(
        changed(
            (DEPLOY / "traefik/traefik.yml").read_text(),
            ('":443"', f'"127.0.0.1:{port}"'),
            ("/etc/traefik/mosic.yml", str(folder / "mosic.yml")),
        )
    )
    del static["certificatesResolvers"]
    (folder / "traefik.yml").write_text(yaml.safe_dump(static))
    dynamic = yaml.safe_load(
        changed(
            (DEPLOY / "traefik/mosic.yml").read_text(),
            ("http://127.0.0.1:8000", f"http://127.0.0.1:{service}"),
        )
    )
    del dynamic["http"]["routers"]["mosic"]["tls"]
    (folder / "mosic.yml").write_text(yaml.safe_dump(dynamic))
    return ["traefik", f"--configFile={folder / 'traefik.yml'}"]


@asynccontextmanager
async def running(command: list[str], folder: Path, port: int) -> AsyncIterator[None]:
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await listening(process, port, (folder / "proxy.log").read_text)
        yield
    finally:
        await end(process)


@pytest.mark.parametrize("proxy", [caddy, traefik], ids=["caddy", "traefik"])
async def test_example(proxy, tmp_path: Path, database_url: URL) -> None:  # type: ignore[no-untyped-def]
    program = shutil.which(proxy.__name__)
    if program is None:
        pytest.skip(f"needs {proxy.__name__}")
    port, content = free_port(), wav(60.0)
    async with running_service(
        tmp_path / "media", shown(database_url), public_url=PUBLIC, allowed_hosts=()
    ) as service:
        command = [program, *proxy(tmp_path, port, service.port)[1:]]
        # What a client writes about proxies is not believed.
        fields = {"Host": HOST, "X-Forwarded-Prefix": "/evil", "Forwarded": "host=evil.example", **AUTH}
        async with (
            running(command, tmp_path, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=fields, timeout=60) as http,
        ):
            async with asyncio.timeout(120):
                while (
                    await http.get("/health")
                ).status_code != 200:  # Traefik listens before it knows where to
                    await asyncio.sleep(0.05)
            made = await http.post("/play/upload", content=content)
            assert made.status_code == 201, made.text
            clip = made.json()
            assert clip["stream_url"] == f"{PUBLIC}/play/{clip['id']}/stream"
            assert made.headers["location"] == f"/play/{clip['id']}"
            stream = f"/play/{clip['id']}/stream"
            assert (await http.get(stream)).content == content
            part = await http.get(stream, headers={"Range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, content[1000:2000])
            assert (await http.head(stream)).headers["content-length"] == str(len(content))
            assert (await http.get("/play/none")).json()["type"] == "/docs/errors#clip-not-found"
            page = await http.get("/")
            assert "evil" not in page.text
            assert (page.status_code, (await http.get("/favicon.ico")).status_code) == (200, 200)
            for closed in ("/metrics", "/metrics/"):
                assert (await http.get(closed)).status_code == 404
            assert not re.search("mosic_", (await http.get("/metrics?x=1")).text)
            other = await http.get("/play", headers={"Host": "evil.example"})
            assert "x-request-id" not in other.headers, "Mosic was asked"
