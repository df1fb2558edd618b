"""What a clip sounds like, over HTTP: its waveform in three forms, its loudness and its silence."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from mosic.postgres import EmbeddedPostgres
from tests.support.databases import empty_database
from tests.support.programs import needs_ffmpeg
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import ffmpeg, wav
from tests.support.waiting import until

pytestmark = needs_ffmpeg

RATE = 44100


@pytest.fixture(scope="module")
async def running(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("waveforms")
    async with (
        empty_database(postgres) as url,
        running_service(folder / "media", url, works_at_once=1) as service,
    ):
        yield service


@pytest.fixture
async def service(running: Service) -> AsyncIterator[Service]:
    """Between two tests nothing is under way."""
    yield running
    await running.empty()


async def uploaded(service: Service, content: bytes, **fields: str) -> dict[str, Any]:
    answer = await service.http.post("/play/upload", content=content, headers=AUTH, params=fields)
    assert answer.status_code == 201, answer.text
    clip: dict[str, Any] = answer.json()
    return clip


async def drawn(service: Service, clip: dict[str, Any], **parameters: Any) -> httpx.Response:
    """The waveform, once it is there."""
    url = f"/play/{clip['id']}/waveform"

    async def is_there() -> bool:
        answer = await service.http.get(url)
        assert answer.status_code in (200, 202), answer.text
        if answer.status_code == 202:
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["Cache-Control"] == "no-store"
        return answer.status_code == 200

    await until(is_there)
    return await service.http.get(url, params=parameters)


async def shown(service: Service, clip: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await service.http.get(f"/play/{clip['id']}")).json()
    return found


def song(folder: Path) -> tuple[bytes, Any]:
    """Stereo, and its samples: half a second of silence, a swelling tone, a quarter of a second of silence
    again."""
    path = folder / "song.wav"
    tone = "0.6*sin(2*PI*330*t)*abs(sin(t))*between(t,0.5,7.75)"
    ffmpeg("-f", "lavfi", "-i", f"aevalsrc='{tone}|0.5*{tone}':d=8:s={RATE}", path)
    content = path.read_bytes()
    return content, np.frombuffer(content[-8 * RATE * 4 :], "<i2").reshape(-1, 2)


def truth(samples: Any, samples_per_pixel: int, bits: int = 8) -> list[int]:
    samples = samples if bits == 16 else np.trunc(samples / 256).astype(int)
    pieces = [samples[at : at + samples_per_pixel] for at in range(0, len(samples), samples_per_pixel)]
    return [int(value) for piece in pieces for value in (piece.min(), piece.max())]


async def test_what_is_drawn_are_the_samples(service: Service, tmp_path: Path) -> None:
    content, samples = song(tmp_path)
    clip = await uploaded(service, content)
    answer = await drawn(service, clip)
    found = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert (found["version"], found["channels"], found["bits"]) == (2, 1, 8)
    assert found["sample_rate"] == RATE
    assert found["length"] * 2 == len(found["data"])
    assert found["data"] == truth(samples, found["samples_per_pixel"])
    for points in (1, 2, 3, 100, 800, 10_000):
        fewer = (await drawn(service, clip, points=points)).json()
        assert fewer["length"] <= points
        assert fewer["data"] == truth(samples, fewer["samples_per_pixel"])
    assert (await drawn(service, clip, points=800)).json()["length"] > 400
    exact = (await drawn(service, clip, bits=16)).json()
    assert exact["bits"] == 16
    assert exact["data"] == truth(samples, exact["samples_per_pixel"], 16)


async def test_the_binary_form_is_that_of_the_specification(service: Service, tmp_path: Path) -> None:
    content, samples = song(tmp_path)
    clip = await uploaded(service, content)
    for asked, bits, form in (({}, 8, "b"), ({"points": 300}, 8, "b"), ({"bits": 16}, 16, "h")):
        data = (await drawn(service, clip, format="dat", **asked)).content
        version, flags, rate, samples_per_pixel, length, channels = struct.unpack("<iIiiIi", data[:24])
        assert (version, flags, rate, channels) == (2, bits == 8, RATE, 1)
        values = struct.unpack(f"<{2 * length}{form}", data[24:])
        assert list(values) == truth(samples, samples_per_pixel, bits)


async def test_loudness_and_silence_are_in_the_clip(service: Service, tmp_path: Path) -> None:
    content, _ = song(tmp_path)
    clip = await uploaded(service, content)
    await drawn(service, clip)
    found = await shown(service, clip)
    loudness = found["loudness"]
    assert loudness["integrated_lufs"] == pytest.approx(-11.4, abs=3)
    assert loudness["range_lu"] >= 0
    assert loudness["true_peak_dbtp"] == pytest.approx(-4.4, abs=0.3)
    assert loudness["replay_gain_db"] == pytest.approx(-18 - loudness["integrated_lufs"], abs=0.006)
    assert found["silence"] == pytest.approx({"leading": 0.5, "trailing": 0.25}, abs=0.01)
    (listed,) = (await service.http.get("/play")).json()
    assert (listed["loudness"], listed["silence"]) == (found["loudness"], found["silence"])
    again = await service.http.post("/play/upload", content=content, headers=AUTH)
    assert (again.status_code, again.json()["loudness"]) == (200, loudness)
    works = (await service.http.get(f"/play/{clip['id']}/works")).json()
    states = {work["kind"]: work["state"] for work in works}
    assert (states["waveform"], states["loudness"]) == ("done", "done")


async def test_an_edit_that_was_begun_before_it_was_heard_succeeds(service: Service) -> None:
    """Measuring changes neither the entity tag nor the time of the last change."""
    answer = await service.http.post("/play/upload", content=wav(1.0), headers=AUTH)
    clip, tag = answer.json(), answer.headers["ETag"]
    assert clip["loudness"] is None or clip["silence"] is not None
    await drawn(service, clip)
    found = await service.http.get(f"/play/{clip['id']}")
    assert found.headers["ETag"] == tag
    assert found.json()["updated_at"] == clip["updated_at"]
    edit = await service.http.patch(
        f"/play/{clip['id']}", json={"title": "New"}, headers={**AUTH, "If-Match": tag}
    )
    assert edit.status_code == 200
    assert edit.json()["silence"] == found.json()["silence"]


async def test_what_is_not_defined_is_null(service: Service, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "anullsrc=d=2:r=8000:cl=mono", tmp_path / "silent.wav")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2:r=8000", tmp_path / "short.wav")
    silent = await uploaded(service, (tmp_path / "silent.wav").read_bytes())
    short = await uploaded(service, (tmp_path / "short.wav").read_bytes())
    for clip in (silent, short):
        await drawn(service, clip)
    found = await shown(service, silent)
    assert (found["loudness"], found["silence"]) == (None, {"leading": 2, "trailing": 2})
    loudness = (await shown(service, short))["loudness"]
    assert (loudness["integrated_lufs"], loudness["range_lu"], loudness["replay_gain_db"]) == (None,) * 3
    assert loudness["true_peak_dbtp"] == pytest.approx(-18, abs=0.5)


async def test_a_picture_that_can_do_nothing(service: Service, tmp_path: Path) -> None:
    clip = await uploaded(service, song(tmp_path)[0], title="<script>alert(1)</script>")
    answer = await drawn(service, clip, format="svg")
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy
    picture = ElementTree.fromstring(answer.text)  # noqa: S314
    kinds = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert kinds == {"svg", "title", "style", "path", "text"}
    assert not any(name.startswith("on") or "href" in name for one in picture.iter() for name in one.attrib)
    bars = next(one for one in picture.iter() if one.get("class") == "bars").attrib["d"]
    assert 240 < bars.count("M") <= 480
    few = await drawn(service, clip, format="svg", points=10)
    assert 5 <= few.text.count("V") <= 10


async def test_conditions_and_ranges(service: Service) -> None:
    clip = await uploaded(service, wav(2.0))
    url = f"/play/{clip['id']}/waveform?format=dat"
    await drawn(service, clip)
    whole = await service.http.get(url)
    tag = whole.headers["ETag"]
    assert not tag.startswith("W/")
    same = await service.http.get(url, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert (await service.http.get(url, headers={"If-Match": '"other"'})).status_code == 412
    part = await service.http.get(url, headers={"Range": "bytes=4-23", "If-Range": tag})
    assert (part.status_code, part.content) == (206, whole.content[4:24])
    assert part.headers["Content-Range"] == f"bytes 4-23/{len(whole.content)}"
    several = await service.http.get(url, headers={"Range": "bytes=0-3,10-12"})
    assert several.status_code == 206
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert int(several.headers["Content-Length"]) == len(several.content)
    beyond = await service.http.get(url, headers={"Range": "bytes=9999999-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range-not-satisfiable")
    head = await service.http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.headers["ETag"] == tag
    others = {await tag_of(service, clip, query) for query in ("", "?points=5", "?format=svg")}
    assert len(others | {tag}) == 4


async def tag_of(service: Service, clip: dict[str, Any], query: str) -> str:
    return (await service.http.get(f"/play/{clip['id']}/waveform{query}")).headers["ETag"]


@pytest.mark.parametrize(
    "query", ["points=0", "points=-1", "points=10001", "points=x", "points=", "points=1e3", "points=٣"]
)
async def test_points_within_bounds(service: Service, query: str) -> None:
    clip = await uploaded(service, wav(0.5))
    await drawn(service, clip)
    answer = await service.http.get(f"/play/{clip['id']}/waveform?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert "points" in answer.json()["detail"]


async def test_formats_that_there_are(service: Service) -> None:
    clip = await uploaded(service, wav(0.5))
    await drawn(service, clip)
    for wrong in ("format=png", "format=", "format=JSON", "format=json,dat", "bits=9", "bits=", "bits=08"):
        answer = await service.http.get(f"/play/{clip['id']}/waveform?{wrong}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), wrong


async def test_other_parameters_prefixes_and_spellings(service: Service) -> None:
    clip = await uploaded(service, wav(0.5))
    first = (await drawn(service, clip, points=10)).content
    for path in (
        f"/play/{clip['id']}/waveform/?points=10",
        f"/clips/{clip['id']}/waveform?_=123&points=10",
        f"/api/v1/clips/{clip['id']}/waveform?points=10&cache=no",
    ):
        assert (await service.http.get(path)).content == first, path
    assert (await service.http.post(f"/play/{clip['id']}/waveform")).status_code == 405
    for path in ("/play/nothing/waveform", "/play/01935b7e-0000-7000-8000-00000000000a/waveform"):
        answer = await service.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "clip-not-found")


async def test_audio_that_cannot_be_decoded_says_so(service: Service, tmp_path: Path) -> None:
    """An m4a whose index is right, and whose audio is zeros."""
    path = tmp_path / "a.m4a"
    ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=2", "-movflags", "+faststart", path)
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    clip = await uploaded(service, content[:start] + b"\xff" * (len(content) - start))
    url = f"/play/{clip['id']}/waveform"

    async def is_settled() -> bool:
        return (await service.http.get(url)).status_code != 202

    await until(is_settled)
    answer = await service.http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (422, "no-waveform")
    assert "decoded" in answer.json()["detail"]
    works = (await service.http.get(f"/play/{clip['id']}/works")).json()
    assert {work["code"] for work in works if work["kind"] in ("waveform", "loudness")} == {"not-decodable"}
    assert (await service.http.get(f"/play/{clip['id']}/stream")).status_code == 200


async def test_other_bytes_are_heard_anew(service: Service, tmp_path: Path) -> None:
    clip = await uploaded(service, wav(2.0))
    before = (await drawn(service, clip)).json()
    files = len(service.files())
    answer = await service.http.put(f"/play/{clip['id']}/audio", content=song(tmp_path)[0], headers=AUTH)
    assert answer.status_code == 200
    await drawn(service, clip)

    async def is_new() -> bool:
        found = await service.http.get(f"/play/{clip['id']}/waveform")
        return bool(found.json().get("sample_rate") == RATE)

    await until(is_new)
    assert before["sample_rate"] == 8000
    assert (await shown(service, clip))["silence"]["leading"] == pytest.approx(0.5, abs=0.01)
    await until(lambda: len(service.files()) == files)


async def test_nothing_is_left_of_a_deleted_clip(service: Service, tmp_path: Path) -> None:
    """Two clips with one waveform: it goes with the second."""
    ffmpeg("-f", "lavfi", "-i", "anullsrc=d=2:r=8000:cl=mono", tmp_path / "a.wav")
    ffmpeg("-i", tmp_path / "a.wav", tmp_path / "a.flac")
    first = await uploaded(service, (tmp_path / "a.wav").read_bytes())
    second = await uploaded(service, (tmp_path / "a.flac").read_bytes())
    assert (await drawn(service, first)).content == (await drawn(service, second)).content
    await until(lambda: len(service.files()) == 3)
    assert (await service.http.delete(f"/play/{first['id']}", headers=AUTH)).status_code == 204
    assert len(service.files()) == 2
    assert (await drawn(service, second)).status_code == 200
    assert (await service.http.delete(f"/play/{second['id']}", headers=AUTH)).status_code == 204
    assert service.files() == []


async def test_many_at_once(service: Service) -> None:
    """Uploads are answered at once; each gets its waveform in time."""
    clips = await asyncio.gather(*(uploaded(service, wav(0.5, seed=number)) for number in range(8)))
    found = [(await drawn(service, clip, bits=16)).content for clip in clips]
    assert len({hashlib.sha256(content).digest() for content in found}) == 8
    assert all(json.loads(content)["sample_rate"] == 8000 for content in found)
