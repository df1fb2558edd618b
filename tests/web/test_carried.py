"""Chapters and lyrics: files as ffmpeg and mutagen write them, uploaded, and read over HTTP."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from mutagen.flac import FLAC, CueSheetTrack
from mutagen.flac import CueSheet as FlacCueSheet
from mutagen.id3 import CHAP, CTOC, ID3, SYLT, TIT2, USLT
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus

from mosic.boot import open_runtime
from mosic.core.works.asking import repeat
from mosic.core.works.chapters import ChapterWorks
from mosic.core.works.running import working
from mosic.metrics import Metrics
from tests.support.service import AUTH, Service
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is missing")

CODECS = {"mka": ["-c:a", "flac"]}
TITLES = ["Prologue", "Ärger & <Mut>", "終わり"]
METADATA = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n"
    for start, end, title in zip((0, 1200, 3000), (1200, 3000, 5000), TITLES, strict=True)
)
_made = iter(range(200, 2000))


def make(folder: Path, ending: str, *, chapters: bool = True) -> Path:
    """Five seconds of a tone, of its own pitch each time."""
    (folder / "chapters.txt").write_text(METADATA, encoding="utf-8")
    path = folder / f"made.{ending}"
    tone = f"sine=frequency={next(_made)}:duration=5"
    given = ["-i", str(folder / "chapters.txt"), "-map_metadata", "1", "-map", "0"] if chapters else []
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        tone,
        *given,
        *CODECS.get(ending, ()),
        str(path),
    ]
    subprocess.run([*command, str(path)], check=True, timeout=300)
    return path


async def add(service: Service, path: Path) -> dict[str, Any]:
    answer = await service.http.put("/play/upload", content=path.read_bytes(), headers=AUTH)
    assert answer.status_code == 201, answer.text
    clip: dict[str, Any] = answer.json()
    assert clip == (await service.http.get(f"/play/{clip['id']}")).json()
    (listed,) = [one for one in (await service.http.get("/play")).json() if one["id"] == clip["id"]]
    assert (listed["has_chapters"], listed["has_lyrics"]) == (clip["has_chapters"], clip["has_lyrics"])
    return clip


async def chapters(service: Service, clip: dict[str, Any]) -> list[tuple[Any, ...]]:
    assert clip["has_chapters"]
    answer = await service.http.get(f"/play/{clip['id']}/chapters")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json+chapters"
    assert answer.json()["version"] == "1.2.0"
    return [(one["startTime"], one.get("endTime"), one["title"]) for one in answer.json()["chapters"]]


@pytest.mark.parametrize("ending", ["m4b", "mp3", "mka", "opus"])
async def test_chapters_as_ffmpeg_writes_them(service: Service, tmp_path: Path, ending: str) -> None:
    found = await chapters(service, await add(service, make(tmp_path, ending)))
    assert [title for _, _, title in found] == TITLES
    assert [start for start, _, _ in found] == pytest.approx([0, 1.2, 3], abs=0.05)
    if ending != "opus":
        assert [end for _, end, _ in found] == pytest.approx([1.2, 3, 5], abs=0.2)


async def test_chapters_of_id3_are_in_the_order_of_their_times(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "mp3", chapters=False)
    tags = ID3()
    for name, start, end, title in (
        ("b", 2000, 99_000, "B"),
        ("a", 0, 2500, "A"),
        ("late", 4_000_000_000, 4_100_000_000, "Never"),
        ("rtl", 4000, 4500, "C\u202e\x00x"),
    ):
        frames = [TIT2(encoding=1, text=title)]
        tags.add(CHAP(element_id=name, start_time=start, end_time=end, sub_frames=frames))
    # It contains itself.
    tags.add(CTOC(element_id="toc", flags=3, child_element_ids=["toc", "b", "a"], sub_frames=[]))
    tags.save(path)
    assert await chapters(service, await add(service, path)) == [(0, 2, "A"), (2, 4, "B"), (4, 4.5, "C")]


async def test_the_list_of_nero_alone(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "m4b")
    # The track of texts is hidden from readers, its reference being of another name.
    path.write_bytes(path.read_bytes().replace(b"chap", b"chax"))
    found = await chapters(service, await add(service, path))
    assert [(start, title) for start, _, title in found] == list(zip((0, 1.2, 3), TITLES, strict=True))


async def test_the_track_of_texts_alone(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "m4b")
    path.write_bytes(path.read_bytes().replace(b"chpl", b"chpx"))
    found = await chapters(service, await add(service, path))
    assert [(start, title) for start, _, title in found] == list(zip((0, 1.2, 3), TITLES, strict=True))


async def test_cue_sheets_of_flac(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "flac", chapters=False)
    flac = FLAC(path)
    sheet = FlacCueSheet(None)
    for number, start in ((1, 0), (2, 2), (170, 5)):
        sheet.tracks.append(CueSheetTrack(number, start * flac.info.sample_rate))
    flac.cuesheet = sheet
    flac.metadata_blocks.append(sheet)
    flac.save()
    found = await chapters(service, await add(service, path))
    assert found == [(0, None, "Track 1"), (2, None, "Track 2")]
    flac = FLAC(path)
    flac["cuesheet"] = 'FILE "x" WAVE\n  TRACK 01 AUDIO\n    TITLE "One"\n    INDEX 01 00:00:00\n' + (
        '  TRACK 02 AUDIO\n    TITLE "Two"\n    INDEX 00 00:01:00\n    INDEX 01 00:02:37\n'
    )
    flac.save()
    found = await chapters(service, await add(service, path))
    assert found == [(0, None, "One"), (2.493, None, "Two")]


async def test_lyrics_with_times_win_and_come_in_three_forms(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "mp3", chapters=False)
    tags = ID3()
    tags.add(USLT(encoding=3, lang="deu", desc="", text="ohne Zeiten"))
    sung = [("Row & <row>", 500), ("", 2000), ("gently", 3250)]
    tags.add(SYLT(encoding=1, lang="eng", format=2, type=1, desc="x", text=sung))
    tags.save(path)
    clip = await add(service, path)
    assert clip["has_lyrics"]
    url = f"/play/{clip['id']}/lyrics"
    answer = await service.http.get(url)
    assert answer.json() == {
        "language": "eng",
        "synced": True,
        "lines": [
            {"start": 0.5, "text": "Row & <row>"},
            {"start": 2, "text": ""},
            {"start": 3.25, "text": "gently"},
        ],
    }
    answer = await service.http.get(f"{url}?format=lrc")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[-3:] == ["[00:00.50]Row & <row>", "[00:02.00]", "[00:03.25]gently"]
    assert "[la:eng]" in lines
    answer = await service.http.get(f"{url}?format=vtt")
    assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
    first, cue, last = answer.text.rstrip("\n").split("\n\n")
    assert (first, cue) == ("WEBVTT", "00:00:00.500 --> 00:00:02.000\nRow &amp; &lt;row&gt;")
    assert last.startswith("00:00:03.250 --> 00:00:05.0")
    assert (await service.http.head(url)).headers["content-length"] == (
        str(len((await service.http.get(url)).content))
    )


async def test_times_in_frames_of_mpeg_audio(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "mp3", chapters=False)
    tags = ID3()
    tags.add(SYLT(encoding=3, lang="eng", format=1, type=1, desc="", text=[("a", 0), ("b", 100)]))
    tags.save(path)
    lines = (await service.http.get(f"/play/{(await add(service, path))['id']}/lyrics")).json()["lines"]
    assert [line["start"] for line in lines] == pytest.approx([0, 100 * 1152 / 44100], abs=0.001)


async def test_lyrics_in_tags(service: Service, tmp_path: Path) -> None:
    path = make(tmp_path, "m4b", chapters=False)
    movie = MP4(path)
    movie["\xa9lyr"] = "one\n\n two"
    movie.save()
    url = f"/play/{(await add(service, path))['id']}/lyrics"
    answer = (await service.http.get(url)).json()
    assert (answer["language"], answer["synced"]) == (None, False)
    assert answer["lines"] == [{"start": None, "text": text} for text in ("one", "", "two")]
    assert (await service.http.get(f"{url}?format=lrc")).text == "one\n\ntwo\n"
    refused = await service.http.get(f"{url}?format=vtt")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    assert (await service.http.get(f"{url}?format=txt")).status_code == 422
    path = make(tmp_path, "opus", chapters=False)
    opus = OggOpus(path)
    opus["lyrics"] = (
        "[la:en]\n[offset:500]\n[00:01.00][00:03.0]twice\n[00:02.00]<00:02.10>in <00:02.50>between"
    )
    opus.save()
    answer = (await service.http.get(f"/play/{(await add(service, path))['id']}/lyrics")).json()
    assert (answer["language"], answer["synced"]) == ("en", True)
    assert [(line["start"], line["text"]) for line in answer["lines"]] == [
        (0.5, "twice"),
        (1.5, "in between"),
        (2.5, "twice"),
    ]


async def test_other_bytes_bring_their_own(service: Service, tmp_path: Path) -> None:
    clip = await add(service, make(tmp_path, "mka"))
    url = f"/play/{clip['id']}"
    plain = make(tmp_path, "mp3", chapters=False)
    answer = await service.http.put(f"{url}/audio", content=plain.read_bytes(), headers=AUTH)
    assert (answer.status_code, answer.json()["has_chapters"]) == (200, False)
    for part in ("chapters", "lyrics"):
        answer = await service.http.get(f"{url}/{part}")
        assert (answer.status_code, answer.json()["code"]) == (404, f"no-{part}")
    again = make(tmp_path, "mka")
    answer = await service.http.put(f"{url}/audio", content=again.read_bytes(), headers=AUTH)
    assert len(await chapters(service, answer.json())) == 3


async def test_a_clip_that_is_not_there(service: Service) -> None:
    for part in ("chapters", "lyrics"):
        answer = await service.http.get(f"/play/01935b7e-0000-7000-8000-000000000000/{part}")
        assert (answer.status_code, answer.json()["code"]) == (404, "clip-not-found")


async def test_clips_of_before_are_read_by_a_work(service: Service, tmp_path: Path) -> None:
    clip = await add(service, make(tmp_path, "mka"))
    url = f"/play/{clip['id']}"
    assert "chapters" not in [work["kind"] for work in (await service.http.get(f"{url}/works")).json()]
    async with open_runtime(service.settings, Metrics()) as rt:
        async with rt.begin() as connection:
            await connection.execute(sa.text("DELETE FROM clip_carried"))
            await connection.execute(sa.text("UPDATE clips SET has_chapters = false"))
        assert (await service.http.get(f"{url}/chapters")).json()["code"] == "no-chapters"
        assert await repeat(rt, UUID(clip["id"]), ["chapters"]) == 1

        async with working(rt, [ChapterWorks()], at_once=1, fills=False):

            async def done() -> bool:
                works = (await service.http.get(f"{url}/works")).json()
                return [work["state"] for work in works if work["kind"] == "chapters"] == ["done"]

            await until(done)
    again = (await service.http.get(url)).json()
    assert len(await chapters(service, again)) == 3
    assert again == clip
