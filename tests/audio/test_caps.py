"""A limit on what is looked at ends in an estimate or in nothing, never in a smaller number that looks right.

Each reader is given a small limit, and has to find nearly what it finds without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mosic.audio import ac3, adts, matroska, mpeg, ogg, trueaudio, wavpack
from mosic.audio.source import Sound, Source
from tests.audio.made import ffmpeg
from tests.support.programs import needs_ffmpeg

pytestmark = needs_ffmpeg

SECONDS = 30
Reader = Callable[[Source, int, int], Sound]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute in many formats, by one ffmpeg."""
    folder = tmp_path_factory.mktemp("caps")
    noise = ("-f", "lavfi", "-i", f"anoisesrc=d={SECONDS}:r=48000:a=0.3")
    picture = ("-f", "lavfi", "-i", f"testsrc=d={SECONDS}:s=160x120:r=10")
    outputs: list[str | Path] = []
    for name, options in {
        "a.mp3": ("-q:a", "3"),
        "b.mp3": ("-b:a", "64k", "-write_xing", "0"),
        "a.aac": (),
        "a.ac3": (),
        "a.eac3": (),
        "a.wv": (),
        "a.tta": (),
        "a.ogg": ("-c:a", "libvorbis"),
        "a.opus": ("-c:a", "libopus", "-page_duration", "20000"),
        "a.oga": ("-c:a", "flac"),
        "a.mka": ("-c:a", "aac"),
        "a.webm": ("-c:a", "libopus", "-live", "1"),
    }.items():
        outputs += ["-map", "0:a", *options, folder / name]
    outputs += ["-map", "0:a", "-map", "1:v", "-c:a", "libopus", "-c:v", "libvpx", folder / "film.webm"]
    ffmpeg(*noise, *picture, *outputs)
    return folder


def both(path: Path, capped: Reader, whole: Reader) -> tuple[Sound, Sound]:
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size)
        return capped(source, 0, source.size), whole(source, 0, source.size)


def check(path: Path, capped: Reader, whole: Reader, within: float = 0.05) -> None:
    found, expected = both(path, capped, whole)
    assert expected.duration == pytest.approx(SECONDS, abs=0.1)
    assert found.duration == pytest.approx(expected.duration, rel=within)
    assert found.bitrate == pytest.approx(expected.bitrate, rel=0.25)


@pytest.mark.parametrize("limit", [20_000, 100_000])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.mp3", mpeg.read),
        ("b.mp3", mpeg.read),
        ("a.aac", adts.read),
        ("a.ac3", ac3.read),
        ("a.eac3", ac3.read),
    ],
)
def test_frames(name: str, read: Callable[..., Sound], limit: int, sounds: Path) -> None:
    path = sounds / name
    check(
        path,
        lambda source, start, end: read(source, _first(path), end, limit=limit),
        lambda source, start, end: read(source, _first(path), end),
    )


def _first(path: Path) -> int:
    """Where the frames begin, behind a tag."""
    data = path.read_bytes()
    if not data.startswith(b"ID3"):
        return 0
    return 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])


@pytest.mark.parametrize("most", [5, 50])
@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.oga"])
def test_pages(name: str, most: int, sounds: Path) -> None:
    check(sounds / name, lambda *file: ogg.read(*file, most_pages=most), ogg.read, 1e-9)


@pytest.mark.parametrize("most", [100, 1000])
def test_pages_of_joined_streams(most: int, sounds: Path, tmp_path: Path) -> None:
    """The last page tells the length of the last stream alone."""
    data = (sounds / "a.opus").read_bytes()
    path = tmp_path / "joined.opus"
    path.write_bytes(data + data.replace(data[14:18], b"abcd") + data.replace(data[14:18], b"efgh"))
    found, expected = both(path, lambda *file: ogg.read(*file, most_pages=most), ogg.read)
    assert expected.duration == pytest.approx(3 * SECONDS, abs=0.1)
    assert found.duration == pytest.approx(3 * SECONDS, rel=0.15)


@pytest.mark.parametrize("most", [50, 500])
@pytest.mark.parametrize("name", ["a.mka", "a.webm", "film.webm"])
def test_elements(name: str, most: int, sounds: Path) -> None:
    check(sounds / name, lambda *file: matroska.read(*file, most_elements=most), matroska.read, 0.002)


@pytest.mark.parametrize("most", [200, 500])
def test_elements_without_a_cluster_at_the_end(most: int, sounds: Path, tmp_path: Path) -> None:
    """As where the last of them is larger than what is looked at."""
    data = (sounds / "a.webm").read_bytes()
    first = data.index(b"\x1f\x43\xb6\x75")
    path = tmp_path / "a.webm"
    path.write_bytes(data[: first + 4] + data[first + 4 :].replace(b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x76"))
    found, _ = both(path, lambda *file: matroska.read(*file, most_elements=most), matroska.read)
    assert found.duration is not None
    assert found.duration > 5 or found.duration == 0


def test_damage_in_the_middle_of_a_recording(sounds: Path, tmp_path: Path) -> None:
    """What follows is found again by its clusters."""
    data = bytearray((sounds / "a.webm").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path = tmp_path / "a.webm"
    path.write_bytes(data)
    found, _ = both(path, matroska.read, matroska.read)
    assert found.duration == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("most", [10, 100])
def test_blocks(most: int, sounds: Path) -> None:
    check(sounds / "a.wv", lambda *file: wavpack.read(*file, most_blocks=most), wavpack.read)


def test_a_table_that_is_not_read_to_its_end_proves_nothing(sounds: Path) -> None:
    found, expected = both(
        sounds / "a.tta", lambda *file: trueaudio.read(*file, largest_table=16), trueaudio.read
    )
    assert expected.duration == pytest.approx(SECONDS)
    assert not found.duration


@pytest.mark.parametrize("rate", [24000, 32000])
@pytest.mark.parametrize("codec", ["mp3", "aac", "ac3", "eac3"])
def test_joined_streams_of_two_rates(codec: str, rate: int, tmp_path: Path) -> None:
    """As advertising is put between, or speech is put together. At every place in a chunk of the reader."""
    rates = [48000, rate] if rate == 32000 or codec in ("mp3", "aac") else [48000, 44100]
    parts = []
    for each in rates:
        path = tmp_path / f"{each}.{codec}"
        ffmpeg(
            "-f", "lavfi", "-i", f"anoisesrc=d=3:r={each}:a=0.3", "-map_metadata", "-1", "-b:a", "64k", path
        )
        parts.append(path.read_bytes()[_first(path) :])
    joined = tmp_path / "joined"
    read: Callable[..., Sound] = {"mp3": mpeg.read, "aac": adts.read}.get(codec, ac3.read)
    for data in (parts[0] + parts[1], parts[1] + parts[0], (parts[0] + parts[1]) * 30):
        joined.write_bytes(data)
        found, _ = both(joined, read, read)
        seconds = 6 * (30 if len(data) > 1 << 20 else 1)
        assert found.duration == pytest.approx(seconds, rel=0.03)
