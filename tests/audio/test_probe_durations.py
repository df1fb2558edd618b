"""Durations where the file does not say them, says them wrongly or is not whole."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.made import BY_NAME, Kind, decoded_seconds, ffmpeg, make
from tests.support.programs import needs, needs_ffmpeg
from tests.support.sounds import wav

pytestmark = needs_ffmpeg

FILM = ("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-f", "lavfi", "-i", "sine=d=2.5")


def one(made: Path, name: str, rate: int = 44100) -> bytes:
    return make(made, BY_NAME[name], rate, 2).read_bytes()


def seconds_of(data: bytes | bytearray, path: Path) -> float | None:
    path.write_bytes(data)
    return probe(path).duration


class TestMp3:
    def test_the_frames_count_when_the_header_lies(self, made: Path, tmp_path: Path) -> None:
        data = bytearray(one(made, "mp3"))
        at = data.index(b"Info") + 8
        data[at : at + 4] = (10_000_000).to_bytes(4, "big")
        assert seconds_of(data, tmp_path / "a") == pytest.approx(2.5, abs=0.05)
        data[at : at + 4] = bytes(4)
        assert seconds_of(data, tmp_path / "a") == pytest.approx(2.5, abs=0.05)

    def test_vbri(self, made: Path, tmp_path: Path) -> None:
        """The header that Fraunhofer's encoder writes, put where Lavf has written its own."""
        data = bytearray(one(made, "mp3"))
        at = data.index(b"Info")
        frame = at - 36
        assert data[frame] == 0xFF
        frames = int.from_bytes(data[at + 8 : at + 12], "big")
        data[at : at + 26] = struct.pack(">4sHHHIIHHHH", b"VBRI", 1, 0, 75, len(data), frames, 0, 1, 2, 1)
        path = tmp_path / "vbri.mp3"
        found = seconds_of(data, path)
        assert found == pytest.approx(frames * 1152 / 44100, abs=0.001)
        assert found == pytest.approx(decoded_seconds(path), abs=0.05)

    def test_two_files_one_after_the_other(self, made: Path, tmp_path: Path) -> None:
        both = one(made, "mp3") + one(made, "mp3")
        assert seconds_of(both, tmp_path / "a") == pytest.approx(5.0, abs=0.1)

    def test_cut_off_in_the_middle(self, made: Path, tmp_path: Path) -> None:
        data = one(made, "mp3")
        path = tmp_path / "half.mp3"
        assert seconds_of(data[: len(data) // 2], path) == pytest.approx(decoded_seconds(path), abs=0.05)

    @pytest.mark.parametrize("junk", [b"\0" * 70_000, bytes(range(1, 256)) * 8, b"\xff\xfb" * 300])
    def test_junk_before_the_first_frame(self, junk: bytes, made: Path, tmp_path: Path) -> None:
        found = seconds_of(junk + one(made, "mp3-bare"), tmp_path / "a")
        assert found == pytest.approx(2.5, abs=0.06)

    def test_damage_in_the_middle(self, made: Path, tmp_path: Path) -> None:
        data = bytearray(one(made, "mp3-bare"))
        data[9000:9500] = bytes(500)
        assert seconds_of(data, tmp_path / "a") == pytest.approx(2.5, abs=0.15)

    def test_tags_are_not_sound(self, made: Path, tmp_path: Path) -> None:
        """Text that looks like frames, behind the sound, in an APEv2, a Lyrics3 and an ID3v1 tag."""
        sound = one(made, "mp3-bare")
        item = struct.pack("<II", 40_000, 0) + b"Notes\0" + sound[:40_000].ljust(40_000)
        ape = item + struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(item) + 32, 1, 0)
        lyrics = b"LYRICSBEGIN" + sound[:5000]
        lyrics += b"%06dLYRICS200" % len(lyrics)
        tail = ape + lyrics + b"TAG".ljust(128, b"\0")
        bare = seconds_of(sound, tmp_path / "a")
        assert seconds_of(sound + tail, tmp_path / "a") == bare

    def test_an_encoder_that_says_nothing_of_gaps(self, tmp_path: Path) -> None:
        path = tmp_path / "shine.mp3"
        ffmpeg("-f", "lavfi", "-i", "sine=duration=3", "-c:a", "libshine", path)
        assert probe(path).duration == pytest.approx(decoded_seconds(path), abs=0.05)


class TestFlac:
    def test_written_to_a_pipe(self, tmp_path: Path) -> None:
        """The encoder could not go back and write the length into the header."""
        data = ffmpeg("-f", "lavfi", "-i", "sine=duration=2.5", "-f", "flac", "-")
        assert int.from_bytes(data[21:26], "big") & (1 << 36) - 1 == 0
        assert seconds_of(data, tmp_path / "a") == pytest.approx(2.5, abs=0.001)

    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
    def test_cut_off(self, kept: float, tmp_path: Path) -> None:
        ffmpeg("-f", "lavfi", "-i", "anoisesrc=duration=5", tmp_path / "whole.flac")
        data = (tmp_path / "whole.flac").read_bytes()
        path = tmp_path / "cut.flac"
        found = seconds_of(data[: int(len(data) * kept)], path)
        assert found == pytest.approx(decoded_seconds(path), abs=0.11)  # a frame of 4,096 samples is 93 ms
        assert found == pytest.approx(5 * kept, abs=0.2)

    def test_nothing_but_a_header(self, made: Path, tmp_path: Path) -> None:
        assert seconds_of(one(made, "flac")[:512], tmp_path / "a") is None

    def test_behind_an_id3_tag(self, made: Path, tmp_path: Path) -> None:
        data = b"ID3\4\0\0\0\0\0\x7f" + bytes(127) + one(made, "flac")
        (tmp_path / "a").write_bytes(data)
        found = probe(tmp_path / "a")
        assert found.media_type == "audio/flac"
        assert found.duration == pytest.approx(2.5)

    def test_silence(self, tmp_path: Path) -> None:
        """An hour of it has a few bytes a second."""
        ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "3600", tmp_path / "a.flac")
        assert probe(tmp_path / "a.flac").duration == pytest.approx(3600)


class TestOgg:
    @pytest.mark.parametrize(("name", "rate"), [("vorbis", 44100), ("opus", 48000), ("ogg-flac", 44100)])
    def test_chained(self, name: str, rate: int, made: Path, tmp_path: Path) -> None:
        """Streams one after the other, as an internet radio sends them: each begins to count anew."""
        data = one(made, name, rate)
        other = data.replace(data[14:18], b"\x11\x22\x33\x44")
        assert seconds_of(data + other + other, tmp_path / "a") == pytest.approx(7.5, abs=0.05)

    def test_recorded_from_the_middle(self, tmp_path: Path) -> None:
        """What comes out of a broadcast that has run for a day keeps its positions."""
        path = tmp_path / "late.opus"
        source = ("-f", "lavfi", "-i", "sine=duration=9:sample_rate=48000")
        ffmpeg(*source, "-c:a", "libopus", "-output_ts_offset", "86400", path)
        assert probe(path).duration == pytest.approx(9, abs=0.1)

    def test_beside_a_picture_that_moves(self, tmp_path: Path) -> None:
        path = tmp_path / "film.ogv"
        ffmpeg(*FILM, "-c:a", "libvorbis", path)
        found = probe(path)
        assert (found.media_type, found.codec) == ("audio/ogg", "vorbis")
        assert found.duration == pytest.approx(2.5, abs=0.05)

    @pytest.mark.parametrize("kept", [0.4, 0.8])
    def test_cut_off(self, kept: float, tmp_path: Path) -> None:
        ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=20", "-c:a", "libvorbis", tmp_path / "whole.ogg")
        data = (tmp_path / "whole.ogg").read_bytes()
        path = tmp_path / "cut.ogg"
        found = seconds_of(data[: int(len(data) * kept)], path)
        assert found == pytest.approx(decoded_seconds(path), abs=0.3)  # up to a page
        assert found == pytest.approx(20 * kept, rel=0.2)


class TestMp4:
    def test_index_first_and_then_cut_off(self, made: Path, tmp_path: Path) -> None:
        data = one(made, "m4a-index-first")
        (tmp_path / "a").write_bytes(data[: len(data) - 2000])
        found = probe(tmp_path / "a")
        assert (found.media_type, found.codec, found.duration) == ("audio/mp4", "aac", None)

    def test_the_sound_of_a_film(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        ffmpeg(*FILM, "-ac", "2", path)
        found = probe(path)
        assert (found.media_type, found.codec, found.channels) == ("audio/mp4", "aac", 2)
        assert found.duration == pytest.approx(2.5, abs=0.05)

    def test_fragments_of_a_recorder_that_was_stopped(self, made: Path, tmp_path: Path) -> None:
        data = one(made, "m4a-fragments", 48000)
        last = data.rindex(b"moof") - 4
        assert seconds_of(data[:last], tmp_path / "a") == pytest.approx(2.4, abs=0.05)

    @pytest.mark.parametrize(
        ("configuration", "sample_rate", "channels"),
        [
            ("1210000000", 44100, 2),  # AAC-LC
            ("2b92080000", 44100, 2),  # HE-AAC: the core has half the rate
            ("eb8a100000", 44100, 2),  # HE-AAC v2: and one of the channels
            ("138856e5a0", 44100, 1),  # HE-AAC, told at the end, where old players do not look
            ("1388000000", 22050, 1),
        ],
    )
    def test_what_the_codec_says_of_itself(
        self, configuration: str, sample_rate: int, channels: int, made: Path, tmp_path: Path
    ) -> None:
        """ISO/IEC 14496-3 §1.6.2.1, put where ffmpeg has written 44.1 kHz and stereo."""
        data = bytearray(one(made, "m4a"))
        at = data.index(bytes.fromhex("0580808005")) + 5
        assert data[at : at + 2] == bytes.fromhex("1210")
        data[at : at + 5] = bytes.fromhex(configuration)
        (tmp_path / "a").write_bytes(data)
        found = probe(tmp_path / "a")
        assert (found.codec, found.sample_rate, found.channels) == ("aac", sample_rate, channels)


class TestMatroska:
    def test_as_a_browser_records(self, tmp_path: Path) -> None:
        """To a pipe: no length, and clusters of unknown size."""
        source = ("-f", "lavfi", "-i", "sine=duration=7:sample_rate=48000")
        data = ffmpeg(*source, "-c:a", "libopus", "-f", "webm", "-")
        assert seconds_of(data, tmp_path / "a") == pytest.approx(7, abs=0.05)
        # As a browser that was closed leaves it.
        assert seconds_of(data[: len(data) // 2], tmp_path / "a") == pytest.approx(3.5, abs=0.2)

    def test_cut_off(self, made: Path, tmp_path: Path) -> None:
        data = one(made, "matroska")
        assert seconds_of(data[: len(data) // 2], tmp_path / "a") == pytest.approx(1.25, abs=0.2)

    def test_beside_a_picture_that_moves(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mkv"
        ffmpeg(*FILM, "-c:a", "flac", path)
        found = probe(path)
        assert (found.media_type, found.codec) == ("audio/matroska", "flac")
        assert found.duration == pytest.approx(2.5, abs=0.05)


class TestWave:
    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
    def test_written_to_a_pipe(self, size: int, tmp_path: Path) -> None:
        data = bytearray(wav(2.5))
        data[40:44] = size.to_bytes(4, "little")
        assert seconds_of(data, tmp_path / "a") == pytest.approx(2.5)

    def test_cut_off(self, tmp_path: Path) -> None:
        data = wav(2.5)
        assert seconds_of(data[: 44 + 16000], tmp_path / "a") == pytest.approx(1.0)

    def test_no_samples(self, tmp_path: Path) -> None:
        assert seconds_of(wav(0), tmp_path / "a") is None

    @needs("sox")
    def test_gsm(self, tmp_path: Path) -> None:
        path = tmp_path / "gsm.wav"
        subprocess.run(
            ["sox", "-n", "-r", "8000", "-e", "gsm-full-rate", path, "synth", "2.5", "sine", "440"],
            check=True,
        )
        found = probe(path)
        assert found.codec == "gsm"
        assert found.duration == pytest.approx(2.5, abs=0.05)


@pytest.mark.parametrize(
    "kind", [BY_NAME[name] for name in ("aiff", "wavpack", "tta", "wma", "adts")], ids=str
)
def test_cut_off(kind: Kind, made: Path, tmp_path: Path) -> None:
    """The length of what is there, or none: never that of what is missing."""
    data = one(made, kind.name)
    found = seconds_of(data[: len(data) // 2], tmp_path / "a")
    assert found is None or found == pytest.approx(1.25, abs=0.3)


def test_a_length_that_no_file_of_this_size_has(made: Path, tmp_path: Path) -> None:
    data = bytearray(one(made, "wma"))
    at = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    data[at + 64 : at + 72] = (169_022 * 10_000_000).to_bytes(8, "little")
    assert seconds_of(data, tmp_path / "a") is None
