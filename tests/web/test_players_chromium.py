"""Headless Chromium plays and seeks what the service streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.chromium import Page, needs_chromium, running_chromium
from tests.support.databases import empty_database
from tests.support.programs import needs_ffmpeg
from tests.support.service import Service, running_service

pytestmark = [pytest.mark.slow, needs_ffmpeg, needs_chromium]

SECONDS = 60
# Noise, so that no codec makes it small: what lies ahead is not there yet when it is sought.
NOISE = f"anoisesrc=duration={SECONDS}:sample_rate=48000:amplitude=0.3:seed=1"
FORMATS = {
    "mp3": ("-b:a", "320k"),
    "m4a": ("-b:a", "320k"),
    "ogg": ("-c:a", "libvorbis", "-b:a", "320k"),
    "opus": ("-b:a", "320k"),
    "flac": (),
    "wav": (),
}
BYTES_A_SECOND = 400_000

PLAY_AND_SEEK = """
(async () => {
  const audio = new Audio(ADDRESS);
  const failed = new Promise((_, reject) =>
    audio.addEventListener('error', () => reject(new Error(`${audio.error.code}: ${audio.error.message}`))));
  const until = (holds) => Promise.race([failed, (async () => {
    while (!holds()) await new Promise((next) => setTimeout(next, 20));
  })()]);
  await Promise.race([failed, audio.play()]);
  await until(() => audio.currentTime > 0.3);
  const target = audio.duration * 0.75;
  audio.currentTime = target;
  await until(() => !audio.seeking && audio.currentTime > target + 0.3);
  const reached = audio.currentTime;
  audio.currentTime = 2;
  await until(() => !audio.seeking && audio.currentTime > 2.2 && audio.currentTime < 10);
  audio.pause();
  const found = {duration: audio.duration, seekable: audio.seekable.end(0), target, reached,
                 decoded: audio.webkitAudioDecodedByteCount};
  audio.removeAttribute('src');
  audio.load();
  return found;
})()
"""


@pytest.fixture(scope="module")
async def service(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("chromium")
    async with empty_database(postgres) as url, running_service(folder / "media", url) as running:
        yield running


@pytest.fixture(scope="module")
async def page(service: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with running_chromium(tmp_path_factory.mktemp("profile")) as page:
        await page.open(f"{service.url}/health")
        yield page


@pytest.mark.parametrize("ending", FORMATS)
async def test_chromium_plays_and_seeks(page: Page, service: Service, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"noise.{ending}"
    command = ("ffmpeg", "-v", "error", "-f", "lavfi", "-i", NOISE, "-ac", "2", *FORMATS[ending], str(path))
    encoding = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    assert await encoding.wait() == 0
    size = path.stat().st_size
    clip = (await service.upload(path)).json()

    page.events.clear()
    # Slower than the disk, so that Chromium cannot have it all before it seeks.
    await page.call(
        "Network.emulateNetworkConditions",
        offline=False, latency=0, downloadThroughput=BYTES_A_SECOND, uploadThroughput=-1,
    )  # fmt: skip
    found = await page.evaluate(PLAY_AND_SEEK.replace("ADDRESS", json.dumps(clip["stream_url"])))

    assert found["duration"] == pytest.approx(SECONDS, abs=0.2)
    assert found["seekable"] == pytest.approx(SECONDS, abs=0.2)
    assert found["reached"] == pytest.approx(found["target"], abs=2)
    assert found["decoded"] > 0
    answers = [
        event["params"]["response"]
        for event in page.events
        if event["method"] == "Network.responseReceived"
        and event["params"]["response"]["url"] == clip["stream_url"]
    ]
    assert {answer["status"] for answer in answers} == {206}
    starts = [
        int(value.removeprefix("bytes ").partition("-")[0])
        for answer in answers
        for name, value in answer["headers"].items()
        if name.lower() == "content-range"
    ]
    assert min(starts) == 0
    assert max(starts) > size // 2, "it seeks by range, and does not read up to there"
    stats = (await service.http.get(f"/play/{clip['id']}/stats")).json()
    assert stats["play_count"] >= 1
