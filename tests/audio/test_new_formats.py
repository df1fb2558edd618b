"""Formats of phones, old computers and broadcasts, also those that no program here makes."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mosic.audio import amr, caf, dts, latm, transport, voc
from mosic.audio.probe import probe
from mosic.audio.source import Sound, Source
from mosic.errors import UnreadableMedia, UnsupportedMedia
from tests.audio.made import SECONDS, copy, decoded_seconds, ffmpeg, ffprobe
from tests.support.programs import needs, needs_ffmpeg


def with_source(path: Path, read: Callable[[Source, int, int], Sound]) -> Sound:
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size)
        return read(source, 0, source.size)


def narrow(frames: int = 100) -> bytes:
    """12.2 kbit/s, with a frame of comfort noise and one without data in each ten."""
    return b"#!AMR\n" + b"".join(
        b"\x44" + bytes(5) if at % 10 == 8 else b"\x7c" if at % 10 == 9 else b"\x3c" + bytes(31)
        for at in range(frames)
    )


def wide(frames: int = 100) -> bytes:
    return b"#!AMR-WB\n" + (b"\x44" + bytes(60)) * frames


@needs_ffmpeg
@pytest.mark.parametrize("count", [1, 100, 40_000])
@pytest.mark.parametrize("make", [narrow, wide])
def test_amr(make: Callable[[int], bytes], count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.amr"
    path.write_bytes(make(count))
    found = probe(path)
    assert found.duration == pytest.approx(count / 50)
    assert (found.media_type, found.codec) == (
        ("audio/amr", "amr") if make is narrow else ("audio/amr-wb", "amr-wb")
    )
    said = ffprobe(path)
    assert (found.sample_rate, found.channels) == (said["sample_rate"], said["channels"])


def test_amr_cut_off_and_with_something_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.amr"
    for data in (wide(50)[:-1], wide(49) + b"\xff\xff junk", wide(49) + b"\x54"):
        path.write_bytes(data)
        assert probe(path).duration == pytest.approx(0.98)
    for data in (b"#!AMR\n", b"#!AMR-WB\n\x44", b"#!AMR\n\xff"):
        path.write_bytes(data)
        with pytest.raises(UnreadableMedia):
            probe(path)


@pytest.mark.parametrize("most", [10, 1000])
def test_amr_capped(most: int, tmp_path: Path) -> None:
    path = tmp_path / "a.amr"
    path.write_bytes(narrow(20_000))
    found = with_source(path, lambda *file: amr.read(*file, most_frames=most))
    assert found.duration == pytest.approx(400, rel=0.001)


def packed(number: int) -> bytes:
    raw = bytes([number & 0x7F])
    while number := number >> 7:
        raw = bytes([number & 0x7F | 0x80]) + raw
    return raw


def made_caf(
    packets: list[tuple[int, int]],
    *,
    kind: bytes = b"aac ",
    packet_frames: int = 1024,
    valid: int | None = None,
    priming: int = 0,
    remainder: int = 0,
    table_first: bool = True,
    more: bytes = b"",
) -> bytes:
    """Of 48 kHz; packets are bytes and frames."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack(">q", len(data)) + data

    total = sum(frames for _, frames in packets) - priming - remainder
    table = struct.pack(">qqii", len(packets), total if valid is None else valid, priming, remainder)
    for size, frames in packets:
        table += packed(size) + (b"" if packet_frames else packed(frames))
    data = chunk(b"data", bytes(4 + sum(size for size, _ in packets)))
    description = struct.pack(">d4s5I", 48000, kind, 0, 0, packet_frames, 2, 0)
    parts = [chunk(b"pakt", table), data] if table_first else [data, chunk(b"pakt", table)]
    return b"caff\0\1\0\0" + chunk(b"desc", description) + more + b"".join(parts)


@pytest.mark.parametrize("table_first", [True, False])
@pytest.mark.parametrize("packet_frames", [1024, 0])
def test_caf_of_packets(packet_frames: int, table_first: bool, tmp_path: Path) -> None:
    """What Apple's encoders put before and behind is left out."""
    path = tmp_path / "a.caf"
    packets = [(100 + at % 200, 1024) for at in range(200)]
    path.write_bytes(
        made_caf(packets, packet_frames=packet_frames, priming=2112, remainder=500, table_first=table_first)
    )
    found = probe(path)
    assert found.duration == pytest.approx((200 * 1024 - 2612) / 48000)
    assert (found.codec, found.sample_rate, found.channels) == ("aac", 48000, 2)


def test_caf_that_lies(tmp_path: Path) -> None:
    """More frames than its packets have; and packets that are not there, as in a file that was cut."""
    path = tmp_path / "a.caf"
    packets = [(100, 1024)] * 200
    path.write_bytes(made_caf(packets, valid=10**9))
    assert probe(path).duration == pytest.approx(200 * 1024 / 48000)
    path.write_bytes(made_caf(packets)[:-10_000])
    assert probe(path).duration == pytest.approx(100 * 1024 / 48000, abs=0.03)
    path.write_bytes(made_caf(packets, table_first=False)[:-200])
    assert probe(path).duration is None or probe(path).duration == pytest.approx(200 * 1024 / 48000, abs=0.03)


def test_caf_capped(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    for valid in (None, 0):
        path.write_bytes(made_caf([(100, 1024)] * 2000, valid=valid))
        found = with_source(path, lambda *file: caf.read(*file, largest_table=50))
        assert found.duration == pytest.approx(2000 * 1024 / 48000, rel=0.01)


def test_caf_strings(tmp_path: Path) -> None:
    texts = b"title\0T\xc3\xafte\0artist\0Me\0recorded date\0" + b"2019-03-01\0track number\0003\0"
    info = b"info" + struct.pack(">q", 4 + len(texts)) + (4).to_bytes(4, "big") + texts
    (tmp_path / "a").write_bytes(made_caf([(100, 1024)] * 50, more=info))
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.date, found.track_number) == ("Tïte", "Me", "2019-03-01", 3)


@needs_ffmpeg
def test_caf_still_being_recorded(made: Path, tmp_path: Path) -> None:
    path = copy(made, "caf", tmp_path)
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
    assert probe(path).duration == pytest.approx(SECONDS)


@needs_ffmpeg
def test_au_written_to_a_pipe_and_its_note(tmp_path: Path) -> None:
    data = ffmpeg("-f", "lavfi", "-i", "sine=d=2.5", "-metadata", "title=Söng", "-f", "au", "-")
    assert data[8:12] == b"\xff" * 4
    path = tmp_path / "a.au"
    path.write_bytes(data)
    found = probe(path)
    assert found.duration == pytest.approx(2.5)
    assert found.title == "Söng"
    path.write_bytes(data[: len(data) // 2])
    assert probe(path).duration == pytest.approx(1.25, abs=0.01)


def test_au_with_a_note_that_is_a_text(tmp_path: Path) -> None:
    head = b".snd" + struct.pack(">5I", 24 + 16, 16000, 3, 8000, 1)
    (tmp_path / "a").write_bytes(head + b"Greetings, x = y" + bytes(16000))
    found = probe(tmp_path / "a")
    assert (found.duration, found.tags) == (1.0, {"comment": ["Greetings, x = y"]})
    little = b"dns." + struct.pack("<5I", 24, 16000, 3, 8000, 1) + bytes(16000)
    (tmp_path / "a").write_bytes(little)
    assert probe(tmp_path / "a").duration == 1.0


@needs_ffmpeg
@needs("sox")
def test_voc_with_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.voc"
    subprocess.run(
        ["sox", "-n", "-r", "8000", "-b", "8", "-e", "unsigned", path, "synth", "2", "sine", "400"],
        check=True,
    )
    data = path.read_bytes()
    assert probe(path).duration == pytest.approx(2.0, abs=0.02)
    silence = b"\3\3\0\0" + (7999).to_bytes(2, "little") + bytes([256 - 125])
    path.write_bytes(data.removesuffix(b"\0") + silence + b"\0")
    assert probe(path).duration == pytest.approx(3.0, abs=0.02)
    assert not with_source(path, lambda *file: voc.read(*file, most_blocks=1)).duration


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ts") / "film.ts"
    sound = ("-f", "lavfi", "-i", "anoisesrc=d=20:r=48000:a=0.3")
    picture = ("-f", "lavfi", "-i", "testsrc=d=20:s=160x120:r=10")
    ffmpeg(*picture, *sound, "-c:v", "mpeg2video", "-c:a", "aac", path)
    return path


class TestTransportStreams:
    @needs_ffmpeg
    def test_the_sound_of_a_film(self, film: Path) -> None:
        found = probe(film)
        assert (found.media_type, found.codec, found.sample_rate) == ("audio/mp2t", "aac", 48000)
        assert found.duration == pytest.approx(decoded_seconds(film), abs=0.06)

    @needs_ffmpeg
    @pytest.mark.parametrize("largest", [100_000, 300_000])
    def test_capped(self, largest: int, film: Path) -> None:
        found = with_source(film, lambda *file: transport.read(*file, largest=largest))
        assert found.duration == pytest.approx(20, abs=0.2)

    @needs_ffmpeg
    def test_beginning_in_the_middle_of_a_packet(self, film: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.ts"
        path.write_bytes(film.read_bytes()[100:])
        assert probe(path).duration == pytest.approx(20, abs=0.6)

    @needs_ffmpeg
    def test_pieces_one_after_the_other(self, film: Path, tmp_path: Path) -> None:
        """The clock begins anew."""
        path = tmp_path / "a.ts"
        path.write_bytes(film.read_bytes() * 2)
        assert probe(path).duration == pytest.approx(40, abs=0.2)

    @needs_ffmpeg
    def test_damage(self, film: Path, tmp_path: Path) -> None:
        path = tmp_path / "a.ts"
        data = film.read_bytes()
        middle = len(data) // 2
        path.write_bytes(data[:middle] + b"\0" * 77 + data[middle:])
        assert probe(path).duration == pytest.approx(20, abs=0.2)

    @needs_ffmpeg
    def test_without_its_tables(self, film: Path, tmp_path: Path) -> None:
        data = film.read_bytes()
        path = tmp_path / "a.ts"
        path.write_bytes(b"".join(data[at : at + 188] for at in range(0, len(data), 188) if data[at + 2]))
        with pytest.raises(UnsupportedMedia):
            probe(path)


@needs_ffmpeg
@pytest.mark.parametrize(("name", "read"), [("dts", dts.read), ("latm", latm.read)])
def test_frames_capped(name: str, read: Callable[..., Sound], made: Path, tmp_path: Path) -> None:
    path = copy(made, name, tmp_path)
    whole, capped = with_source(path, read), with_source(path, lambda *file: read(*file, limit=9000))
    assert capped.duration == pytest.approx(whole.duration, rel=0.15)
