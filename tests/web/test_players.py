"""Programs that people play and fetch audio with: what they get from the service is what is in the file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database
from tests.support.exchange import exchange, head
from tests.support.programs import needs, needs_ffmpeg
from tests.support.service import Service, running_service
from tests.support.sounds import ffprobe_duration, wav

SECONDS = 12
# Every second has a pitch of its own, so that no two places sound the same.
STAIRS = f"aevalsrc=0.5*sin(2*PI*(300+100*floor(t))*t):sample_rate=44100:duration={SECONDS}"
AT = "7.2"

# What Safari on iOS plays goes by these types; a generic one does not.
TYPES = {
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
}


async def run(*arguments: str | Path) -> bytes:
    """What the program prints; it must succeed. No proxy of this machine may come between."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 60)
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, errors.decode(errors="replace")[-2000:]
    return out


@dataclass
class Shelf:
    """A service, and the clips that have been put there."""

    service: Service
    folder: Path

    async def add(self, path: Path) -> str:
        """The address of the stream."""
        answer = await self.service.upload(path)
        assert answer.status_code in (200, 201), answer.text
        return f"{self.service.url}/play/{answer.json()['id']}/stream"

    async def stairs(self, ending: str) -> tuple[Path, str]:
        path = self.folder / f"stairs.{ending}"
        if not path.exists():
            await run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", STAIRS, path)
        return path, await self.add(path)


@pytest.fixture(scope="module")
async def shelf(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shelf]:
    folder = tmp_path_factory.mktemp("players")
    async with empty_database(postgres) as url, running_service(folder / "media", url) as service:
        yield Shelf(service, folder)


@needs_ffmpeg
@pytest.mark.parametrize("ending", TYPES)
async def test_type_and_first_probe(shelf: Shelf, ending: str) -> None:
    """Players of Apple ask for two bytes first, and give up on anything but exactly these."""
    path, url = await shelf.stairs(ending)
    request = head("GET", url.removeprefix(shelf.service.url), "Range: bytes=0-1", "Accept-Encoding: gzip")
    answer = await exchange(shelf.service.port, request)
    assert (answer.status, answer.body) == (206, path.read_bytes()[:2])
    assert answer.fields["content-range"] == f"bytes 0-1/{path.stat().st_size}"
    assert answer.fields["content-type"] == TYPES[ending]
    assert answer.fields["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.fields


@needs_ffmpeg
@pytest.mark.parametrize("ending", TYPES)
async def test_ffprobe_and_ffmpeg(shelf: Shelf, ending: str) -> None:
    path, url = await shelf.stairs(ending)
    shown = await run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", url)
    assert float(shown) == pytest.approx(ffprobe_duration(path), abs=0.001)
    for start in ((), ("-ss", AT, "-t", "0.5")):
        heard, there = [
            await run("ffmpeg", "-v", "error", *start, "-i", source, "-f", "s16le", "-")
            for source in (url, path)
        ]
        assert heard
        assert heard == there


@needs_ffmpeg
@needs("mpv")
@pytest.mark.parametrize("ending", TYPES)
async def test_mpv_starts_where_it_is_told(shelf: Shelf, ending: str, tmp_path: Path) -> None:
    path, url = await shelf.stairs(ending)
    for source, name in ((url, "heard.wav"), (path, "there.wav")):
        await run(
            *("mpv", "--no-config", "--no-video", "--really-quiet", f"--start={AT}", "--length=0.5"),
            *("--ao=pcm", f"--ao-pcm-file={tmp_path / name}", source),
        )
    heard, there = ((tmp_path / name).read_bytes() for name in ("heard.wav", "there.wav"))
    assert len(heard) > 30_000
    assert heard == there


@pytest.fixture(scope="module")
async def long(shelf: Shelf) -> tuple[Path, str]:
    """8 MB, which aria2c splits."""
    path = shelf.folder / "long.wav"
    path.write_bytes(wav(250, rate=16000))
    return path, await shelf.add(path)


@needs("curl")
async def test_curl_takes_a_range(long: tuple[Path, str]) -> None:
    path, url = long
    content = path.read_bytes()
    assert await run("curl", "-sf", "-r", "100-199", url) == content[100:200]
    assert await run("curl", "-sf", "-r", "-77", url) == content[-77:]
    assert await run("curl", "-sf", "--compressed", url) == content
    assert b"multipart/byteranges" in await run("curl", "-sfi", "-r", "0-9,500-509", url)


@needs("curl")
async def test_curl_resumes(long: tuple[Path, str], tmp_path: Path) -> None:
    path, url = long
    content = path.read_bytes()
    part = tmp_path / "part.wav"
    for begun in (content[:1_000_003], content):  # a whole one is answered with 416, and stays
        part.write_bytes(begun)
        await run("curl", "-sf" if begun != content else "-s", "-C", "-", "-o", part, url)
        assert part.read_bytes() == content


@needs("wget")
async def test_wget_resumes(long: tuple[Path, str], tmp_path: Path) -> None:
    path, url = long
    content = path.read_bytes()
    part = tmp_path / "part.wav"
    for begun in (content[:1_000_003], content):
        part.write_bytes(begun)
        await run("wget", "-q", "-c", "-O", part, url)
        assert part.read_bytes() == content


@needs("aria2c")
async def test_aria2c_fetches_with_four_connections(long: tuple[Path, str], tmp_path: Path) -> None:
    path, url = long
    await run(
        *("aria2c", "--no-conf", "-q", "-x4", "-s4", "-k1M", "--file-allocation=none"),
        *("-d", tmp_path, "-o", "got.wav", url),
    )
    assert (tmp_path / "got.wav").read_bytes() == path.read_bytes()


@needs("wget")
@needs("curl")
async def test_programs_name_the_file_as_it_was_called(shelf: Shelf, tmp_path: Path) -> None:
    """RFC 6266: the quotes and the letters beyond ASCII that a name may have."""
    path = shelf.folder / 'a "quoted" name.wav'
    path.write_bytes(wav(0.3, seed=9))
    url = await shelf.add(path)
    await run("curl", "-sfOJ", "--output-dir", tmp_path, url)
    await run("wget", "-q", "--content-disposition", "-P", tmp_path / "wget", url)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["a _quoted_ name.wav"]
    assert [one.name for one in (tmp_path / "wget").iterdir()] == ['a "quoted" name.wav']
