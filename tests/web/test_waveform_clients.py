"""Waveforms as the programs of others read and draw them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.chromium import Page, needs_chromium, running_chromium
from tests.support.databases import empty_database
from tests.support.node import packages
from tests.support.programs import needs_ffmpeg
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import ffmpeg
from tests.support.waiting import until

pytestmark = needs_ffmpeg

SECONDS = 10
# Silence, then a tone that swells from nothing.
SONG = f"aevalsrc='0.9*sin(2*PI*220*t)*max(0,t-5)/5':d={SECONDS}:s=44100"
READER = """
const WaveformData = require('waveform-data');
(async () => {
  const found = [];
  for (const form of ['json', 'dat']) {
    const answer = await fetch(`${process.argv[1]}?format=${form}`);
    const content = form === 'json' ? await answer.json() : await answer.arrayBuffer();
    const waveform = WaveformData.create(content);
    const channel = waveform.channel(0);
    const few = waveform.resample({width: 100}).channel(0);
    found.push({length: waveform.length, duration: waveform.duration, channels: waveform.channels,
                bits: waveform.bits, min: channel.min_array(), max: channel.max_array(),
                few: few.max_array()});
  }
  console.log(JSON.stringify(found));
})();
"""


@pytest.fixture(scope="module")
async def clip(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Service, str]]:
    """A service, and the URL of a waveform that is there."""
    folder = tmp_path_factory.mktemp("drawing")
    ffmpeg("-f", "lavfi", "-i", SONG, folder / "song.flac")
    async with (
        empty_database(postgres) as database,
        running_service(folder / "media", database, works_at_once=1) as service,
    ):
        answer = await service.http.post(
            "/play/upload", content=(folder / "song.flac").read_bytes(), headers=AUTH
        )
        url = f"{service.url}/play/{answer.json()['id']}/waveform"

        async def is_drawn() -> bool:
            return (await service.http.get(url)).status_code == 200

        await until(is_drawn)
        yield service, url


async def test_waveform_data_reads_both_forms(clip: tuple[Service, str], pytestconfig: pytest.Config) -> None:
    folder = packages(pytestconfig, "waveform-data", "waveform-data@4.5.2")
    service, url = clip
    reading = await asyncio.create_subprocess_exec(
        *("node", "-e", READER, url), cwd=folder, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    said, _ = await reading.communicate()
    assert reading.returncode == 0
    text, binary = json.loads(said)
    assert text == binary
    assert text["duration"] == pytest.approx(SECONDS, abs=0.01)
    assert (text["channels"], text["bits"]) == (1, 8)
    data = (await service.http.get(url)).json()["data"]
    assert (text["min"], text["max"]) == (data[::2], data[1::2])
    assert max(text["max"][: text["length"] // 2 - 1]) == 0
    assert max(text["few"]) == pytest.approx(0.9 * 128, rel=0.02)


@pytest.fixture(scope="module")
async def page(clip: tuple[Service, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with running_chromium(tmp_path_factory.mktemp("profile")) as opened:
        await opened.open(f"{clip[0].url}/health")
        yield opened


PREPARE = """
document.body.innerHTML = '<div id="zoom" style="width:1000px;height:150px"></div>' +
  '<div id="overview" style="width:1000px;height:150px"></div>' +
  '<div id="wave" style="width:1000px;height:150px"></div><audio id="audio" src="STREAM"></audio>';
// How many pixels of the left and of the right half are drawn upon.
window.drawnIn = (element) => {
  const halves = [0, 0];
  const look = (root) => {
    for (const one of root.querySelectorAll('*')) if (one.shadowRoot) look(one.shadowRoot);
    for (const canvas of root.querySelectorAll('canvas')) {
      if (!canvas.width || !canvas.height) continue;
      const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 3; at < data.length; at += 4)
        if (data[at]) halves[(at >> 2) % canvas.width < canvas.width / 2 ? 0 : 1] += 1;
    }
  };
  look(element);
  return halves;
};
"""
PEAKS = """
new Promise((resolve, reject) => peaks.init({
  overview: {container: document.getElementById('overview'), showAxisLabels: false, axisTopMarkerHeight: 0,
             axisBottomMarkerHeight: 0, playheadWidth: 0},
  mediaElement: document.getElementById('audio'),
  dataUri: {FORM: 'URL'},
}, (error, made) => error ? reject(error) : setTimeout(() => {
  const found = drawnIn(document.getElementById('overview'));
  made.destroy();
  resolve(found);
}, 500)))
"""
WAVESURFER = """
(async () => {
  const found = await (await fetch('URL?points=2000')).json();
  const wave = WaveSurfer.create({
    container: document.getElementById('wave'), url: 'STREAM', duration: found.length *
      found.samples_per_pixel / found.sample_rate, peaks: [found.data.map((value) => value / 128)],
  });
  await new Promise((resolve) => wave.once('redrawcomplete', resolve));
  await new Promise((resolve) => setTimeout(resolve, 500));
  return drawnIn(document.getElementById('wave'));
})()
"""


def is_swelling(halves: list[int]) -> bool:
    """Of the left half only the line in the middle is drawn."""
    left, right = halves
    return right > 5000 and left < right / 5


@pytest.mark.slow
@needs_chromium
async def test_peaks_and_wavesurfer_draw_it(
    page: Page, clip: tuple[Service, str], pytestconfig: pytest.Config
) -> None:
    wanted = ("konva@9.3.22", "waveform-data@4.5.2", "peaks.js@4.0.0", "wavesurfer.js@8.0.1")
    modules = packages(pytestconfig, "peaks", *wanted) / "node_modules"
    _, url = clip
    stream = url.replace("/waveform", "/stream")

    async def evaluate(script: str, **others: str) -> Any:
        for name, value in {"URL": url, "STREAM": stream, **others}.items():
            script = script.replace(name, value)
        return await page.evaluate(script)

    await evaluate(PREPARE)
    for name in (
        "konva/konva.min.js",
        "waveform-data/dist/waveform-data.min.js",
        "peaks.js/dist/peaks.min.js",
        "wavesurfer.js/dist/wavesurfer.min.js",
    ):
        await page.evaluate(f"(0, eval)({json.dumps((modules / name).read_text())}); 0")
    assert is_swelling(await evaluate(WAVESURFER))
    for form, query in (("json", ""), ("arraybuffer", "?format=dat")):
        assert is_swelling(await evaluate(PEAKS, FORM=form, URL=url + query)), form


@pytest.mark.slow
@needs_chromium
async def test_a_browser_shows_the_picture(page: Page, clip: tuple[Service, str], tmp_path: Path) -> None:
    """Opened by itself, as from a link: something blue is drawn, more of it on the right."""
    _, url = clip
    halves = await page.evaluate(
        f"""(async () => {{
          const picture = new Image();
          picture.src = '{url}?format=svg';
          await picture.decode();
          const canvas = Object.assign(document.createElement('canvas'),
                                       {{width: picture.width, height: picture.height}});
          const context = canvas.getContext('2d');
          context.drawImage(picture, 0, 0);
          const {{data}} = context.getImageData(0, 0, canvas.width, canvas.height);
          const halves = [0, 0];
          for (let at = 0; at < data.length; at += 4)
            if (data[at + 2] > data[at] + 60)
              halves[(at >> 2) % canvas.width < canvas.width / 2 ? 0 : 1] += 1;
          return halves;
        }})()"""
    )
    assert is_swelling(halves), halves
    await page.call("Page.navigate", url=f"{url}?format=svg")
    await asyncio.sleep(1)
    shot = base64.b64decode((await page.call("Page.captureScreenshot"))["data"])
    (tmp_path / "picture.png").write_bytes(shot)
    assert len(shot) > 3000
