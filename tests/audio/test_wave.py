"""WAVE in its rarer forms, and what recorders and radio stations note in it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mosic.audio import aiff, wave
from mosic.audio.probe import probe
from mosic.audio.source import Source
from mosic.errors import UnreadableMedia
from tests.audio.made import ffmpeg, ffprobe
from tests.audio.test_probe_tags import info, riff
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import wav


def bext(description: bytes, originator: bytes, date: bytes) -> tuple[bytes, bytes]:
    fixed = struct.pack("<256s32s32s10s8s", description, originator, b"REF", date, b"10:20:30")
    return b"bext", fixed.ljust(602, b"\0") + b"A=PCM,F=48000\r\n"


IXML = """<?xml version="1.0" encoding="UTF-8"?>
<BWFXML><PROJECT>Straße</PROJECT><SCENE>12A</SCENE><TAKE>3</TAKE><NOTE>good &amp; loud</NOTE>
<SPEED><NOTE>not this one</NOTE></SPEED>
<TRACK_LIST><TRACK><NAME>Boom</NAME></TRACK><TRACK><NAME>Lav</NAME></TRACK></TRACK_LIST></BWFXML>
"""


def test_bext(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff(bext("Rede im Café".encode("cp1252"), b"ZOOM H5", b"2023-03-08")))
    found = probe(tmp_path / "a")
    assert found.date == "2023-03-08"
    assert found.tags["description"] == ["Rede im Café"]
    assert found.tags["originator"] == ["ZOOM H5"]
    assert found.tags["codinghistory"] == ["A=PCM,F=48000"]
    assert found.title is None


@pytest.mark.parametrize("date", [b"2023:03:08", b"2023/03/08", b"2023.03.08"])
def test_dates_of_recorders(date: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff(bext(b"", b"", date)))
    assert probe(tmp_path / "a").date == "2023-03-08"


def test_what_people_wrote_comes_before_what_a_recorder_wrote(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff(bext(b"D", b"O", b"2023-03-08"), info(ICRD=b"2019", INAM=b"Song")))
    found = probe(tmp_path / "a")
    assert (found.title, found.date) == ("Song", "2019")


def test_ixml(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff((b"iXML", IXML.encode() + b"\0\0")))
    tags = probe(tmp_path / "a").tags
    assert (tags["project"], tags["scene"], tags["take"]) == (["Straße"], ["12A"], ["3"])
    assert tags["note"] == ["good & loud", "not this one"]
    assert tags["trackname"] == ["Boom", "Lav"]


@pytest.mark.parametrize(
    ("said", "encoding", "project"),
    [
        ("UTF-8", "cp1252", "Don’t – Straße"),
        ("ISO-8859-1", "latin-1", "Straße"),
        ("UTF-16", "utf-16", "Straße"),
        ("iso-8859-2", "iso8859-2", "Łódź"),
        ("windows-1252", "utf-8", "Straße"),
    ],
)
def test_ixml_in_another_encoding(said: str, encoding: str, project: str, tmp_path: Path) -> None:
    document = IXML.replace("UTF-8", said).replace("Straße", project).encode(encoding)
    (tmp_path / "a").write_bytes(riff((b"iXML", document)))
    assert probe(tmp_path / "a").tags["project"] == [project]


@pytest.mark.parametrize(
    "document",
    [
        b"<BWFXML><PROJECT>cut",
        b'<!DOCTYPE a [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]><BWFXML><PROJECT>&y;</PROJECT></BWFXML>',
        b"<" * 100_000,
        b"<a>" * 100_000,
        b"",
        b"\xff\xfe\0",
        b'<?xml version="1.0" encoding="nonsense"?><BWFXML/>',
    ],
)
def test_hostile_ixml(document: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff((b"iXML", document)))
    found = probe(tmp_path / "a")
    assert found.duration == pytest.approx(0.5)
    assert found.tags == {}


def test_cart(tmp_path: Path) -> None:
    content = struct.pack("<4s64s64s64s", b"0101", b"Spot", b"Station", b"CUT1").ljust(2048, b"\0")
    (tmp_path / "a").write_bytes(riff((b"cart", content)))
    found = probe(tmp_path / "a")
    assert (found.title, found.artist, found.tags["cutid"]) == ("Spot", "Station", ["CUT1"])


def rifx(seconds: float = 2.0) -> bytes:
    """Big-endian throughout."""
    count = round(8000 * seconds)
    form = struct.pack(">HHIIHH", 1, 1, 8000, 16000, 2, 16)
    inner = b"INFOINAM" + (4).to_bytes(4, "big") + b"Song"
    body = b"WAVEfmt " + (16).to_bytes(4, "big") + form
    body += b"LIST" + len(inner).to_bytes(4, "big") + inner
    body += b"data" + (2 * count).to_bytes(4, "big") + bytes(2 * count)
    return b"RIFX" + len(body).to_bytes(4, "big") + body


@needs_ffmpeg
def test_rifx(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(rifx())
    found = probe(path)
    assert found.duration == ffprobe(path)["duration"] == 2.0
    assert (found.media_type, found.codec, found.sample_rate) == ("audio/wav", "pcm", 8000)
    assert found.title == "Song"


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_mulaw", "adpcm_ima_wav"])
def test_wave64(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.w64"
    ffmpeg("-f", "lavfi", "-i", "sine=d=2.5", "-c:a", codec, "-ac", "2", path)
    found = probe(path)
    assert found.media_type == "audio/x-w64"
    assert found.duration == pytest.approx(2.5, abs=0.05)
    assert (found.sample_rate, found.channels) == (44100, 2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert probe(path).duration == pytest.approx(1.25, abs=0.05)


@needs_ffmpeg
def test_wave64_written_to_a_pipe(tmp_path: Path) -> None:
    data = ffmpeg("-f", "lavfi", "-i", "sine=d=2.5", "-f", "w64", "-")
    (tmp_path / "a").write_bytes(data)
    assert probe(tmp_path / "a").duration == pytest.approx(2.5)


@pytest.mark.parametrize("size", [16, 40, 60, 100])
def test_wave64_cut_off_in_its_header(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1" + bytes(200))[:size])
    with pytest.raises(UnreadableMedia):
        probe(path)


def test_a_sound_behind_too_many_chunks_has_no_duration(tmp_path: Path) -> None:
    """And the same one within them has: none is ever too short."""
    data = wav(2.0)
    path = tmp_path / "a.wav"
    path.write_bytes(data[:36] + (b"note" + bytes(4)) * 20 + data[36:])
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size)
        assert wave.read(source, 0, source.size, most_chunks=100).duration == 2.0
        assert not wave.read(source, 0, source.size, most_chunks=10).duration
    common = struct.pack(">hIhHQ", 1, 8000, 16, 16383 + 12, 8000 << 51)
    body = b"AIFFCOMM" + (18).to_bytes(4, "big") + common + (b"note" + bytes(4)) * 20
    body += b"SSND" + (16008).to_bytes(4, "big") + bytes(16008)
    path.write_bytes(b"FORM" + len(body).to_bytes(4, "big") + body)
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size)
        assert aiff.read(source, 0, source.size, most_chunks=100).duration == 1.0
        assert not aiff.read(source, 0, source.size, most_chunks=10).duration
