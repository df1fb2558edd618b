"""How long an MP4 is: by its samples, whatever its headers and indexes say (ISO/IEC 14496-12)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mosic.audio import mp4
from mosic.audio.info import AudioInfo
from mosic.audio.probe import probe
from mosic.audio.source import Sound, Source
from tests.audio.bombs import box
from tests.audio.made import ffmpeg, ffprobe
from tests.audio.movies import RATE, SAMPLE, Track, fragment, full, movie
from tests.support.programs import needs_ffmpeg

HALF = RATE // 2
"""25 samples: how long a fragment is."""


def probed(data: bytes, folder: Path) -> AudioInfo:
    (folder / "a").write_bytes(data)
    return probe(folder / "a")


def seconds_of(data: bytes, folder: Path) -> float | None:
    return probed(data, folder).duration


def read(path: Path, most_fragments: int = 50_000, largest_table: int = 64 << 20) -> Sound:
    with path.open("rb") as file:
        source = Source(file.fileno(), path.stat().st_size)
        return mp4.read(source, 0, source.size, most_fragments=most_fragments, largest_table=largest_table)


class TestTheIndex:
    @pytest.mark.parametrize("announced", [0, 2000, 100 * RATE, 2**32 - 1])
    def test_the_samples_count_and_not_the_header(self, announced: int, tmp_path: Path) -> None:
        data = movie(Track(samples=100, announced=announced), announced=announced)
        assert seconds_of(data, tmp_path) == pytest.approx(2.0)

    def test_a_timescale_of_zero_is_the_sample_rate(self, tmp_path: Path) -> None:
        assert seconds_of(movie(Track(samples=100, timescale=0)), tmp_path) == pytest.approx(2.0)

    def test_more_times_than_samples(self, tmp_path: Path) -> None:
        data = movie(Track(samples=100))
        lying = data.replace(full(b"stts", 1, 100, SAMPLE), full(b"stts", 1, 5000, SAMPLE))
        assert lying != data
        assert seconds_of(lying, tmp_path) == pytest.approx(2.0)

    def test_fewer_times_than_samples(self, tmp_path: Path) -> None:
        data = movie(Track(samples=100))
        short = data.replace(full(b"stts", 1, 100, SAMPLE), full(b"stts", 1, 10, SAMPLE))
        assert seconds_of(short, tmp_path) == pytest.approx(2.0)

    def test_no_times(self, tmp_path: Path) -> None:
        data = movie(Track(samples=100, announced=2 * RATE))
        assert (
            seconds_of(data.replace(full(b"stts", 1, 100, SAMPLE), full(b"stts", 0, 0, 0)), tmp_path) is None
        )

    @pytest.mark.parametrize(
        ("edits", "expected"),
        [
            ([(1500, 960)], 1.5),  # the encoder's delay and padding left out
            ([(500, -1), (2000, 0)], 2.5),  # half a second of silence before
            ([(0, 0)], 2.0),  # to the end
            ([(900_000, 0)], 2.0),  # longer than the sound: nobody plays that
            ([(30_000, 0)], 2.0),
            ([(2000, 24_000)], 1.5),  # beyond the end of the sound
            ([(0, 24_000)], 1.5),
            ([(500, -1), (30_000, 0)], 2.5),
            ([(500, 0), (1000, 48_000)], 1.5),
            ([(1000, 2**31 - 1)], 2.0),  # begins where no sound is
        ],
    )
    def test_edits_in_the_timescale_of_the_movie(
        self, edits: list[tuple[int, int]], expected: float, tmp_path: Path
    ) -> None:
        assert seconds_of(movie(Track(samples=100, edits=edits)), tmp_path) == pytest.approx(expected)

    def test_the_track_of_sound_is_measured_beside_others(self, tmp_path: Path) -> None:
        film = Track(1, samples=500, ticks=4000, size=2000, handler=b"vide")
        found = probed(movie(film, Track(2, samples=100)), tmp_path)
        assert found.duration == pytest.approx(2.0)
        assert found.bitrate == 40_000


class TestFragments:
    def test_a_length_in_the_header_is_not_added(self, tmp_path: Path) -> None:
        data = movie(Track(announced=2 * RATE), announced=2000)
        data += b"".join(fragment(at=HALF * each) for each in range(4))
        found = probed(data, tmp_path)
        assert found.duration == pytest.approx(2.0)
        assert found.bitrate == 40_000

    def test_samples_in_the_index_come_first(self, tmp_path: Path) -> None:
        data = movie(Track(samples=50)) + fragment(at=RATE) + fragment(at=RATE + HALF)
        found = probed(data, tmp_path)
        assert found.duration == pytest.approx(2.0)
        assert found.bitrate == 40_000

    def test_gaps_are_heard(self, tmp_path: Path) -> None:
        data = movie(Track()) + b"".join(fragment(at=(HALF + 4800) * each) for each in range(10))
        assert seconds_of(data, tmp_path) == pytest.approx(9 * 0.6 + 0.5)

    @pytest.mark.parametrize("wide", [False, True])
    def test_a_part_of_a_broadcast(self, wide: bool, tmp_path: Path) -> None:
        day = 86_400 * RATE % 2**32 if not wide else 86_400 * RATE * 400
        data = movie(Track(edits=[(0, 312)]))
        data += b"".join(fragment(at=day + HALF * each, wide=wide) for each in range(4))
        assert seconds_of(data, tmp_path) == pytest.approx(2.0)

    def test_the_delay_of_the_encoder_is_left_out(self, tmp_path: Path) -> None:
        data = movie(Track(edits=[(0, 4800)])) + fragment(at=0) + fragment(at=HALF)
        assert seconds_of(data, tmp_path) == pytest.approx(0.9)

    def test_without_times_the_runs_are_added(self, tmp_path: Path) -> None:
        assert seconds_of(movie(Track()) + fragment() * 4, tmp_path) == pytest.approx(2.0)

    def test_times_for_some(self, tmp_path: Path) -> None:
        data = movie(Track()) + fragment(at=RATE) + fragment() + fragment(at=3 * RATE)
        assert seconds_of(data, tmp_path) == pytest.approx(2.5)

    def test_a_clock_that_begins_anew(self, tmp_path: Path) -> None:
        """Two recordings one after the other."""
        data = movie(Track()) + (fragment(at=0) + fragment(at=HALF)) * 2
        assert seconds_of(data, tmp_path) == pytest.approx(2.0)

    @pytest.mark.parametrize("step", [0, 500, 1000])
    def test_a_clock_that_is_too_slow(self, step: int, tmp_path: Path) -> None:
        """It stands still, or counts in another timescale than the samples."""
        data = movie(Track()) + b"".join(fragment(at=step * each) for each in range(4))
        assert seconds_of(data, tmp_path) == pytest.approx(2.0)

    @pytest.mark.parametrize(
        "options",
        [
            {"by_default": True},
            {"ticks": None},
            {"size": None},
            {"ticks": None, "size": None},
        ],
    )
    def test_defaults(self, options: dict[str, None], tmp_path: Path) -> None:
        """From `tfhd`, or from `trex`."""
        data = movie(Track(default_ticks=SAMPLE, default_size=100))
        data += b"".join(fragment(at=HALF * each, **options) for each in range(4))  # type: ignore[arg-type]
        found = probed(data, tmp_path)
        assert found.duration == pytest.approx(2.0)
        assert found.bitrate == 40_000

    def test_what_tfhd_says_holds_for_its_fragment_only(self, tmp_path: Path) -> None:
        data = movie(Track(default_ticks=SAMPLE, default_size=100))
        data += fragment(ticks=2 * SAMPLE, by_default=True) + fragment(ticks=None)
        assert seconds_of(data, tmp_path) == pytest.approx(1.5)

    def test_other_tracks_do_not_count(self, tmp_path: Path) -> None:
        data = movie(Track(2, handler=b"vide"), Track(1))
        for each in range(4):
            data += fragment(40, ticks=9000, size=3000, track=2, at=360_000 * each, data=120_000)
            data += fragment(at=HALF * each)
        found = probed(data, tmp_path)
        assert found.duration == pytest.approx(2.0)
        assert found.bitrate == 40_000

    def test_indexes_are_not_believed(self, tmp_path: Path) -> None:
        mehd = box(b"mvex", full(b"mehd", 900_000) + Track().trex())
        sidx = full(b"sidx", 1, RATE, 0, 0, 1, 5_000, 900 * RATE, 0)
        mfra = box(b"mfra", full(b"tfra", 1, 0, 1, 900 * RATE, 5000, tail=b"\1\1\1") + full(b"mfro", 51))
        data = movie(Track(), more=mehd) + sidx
        data += fragment(at=0) + sidx + fragment(at=HALF) + mfra
        assert seconds_of(data, tmp_path) == pytest.approx(1.0)

    def test_a_long_run(self, tmp_path: Path) -> None:
        """An hour and a half in one fragment: more than a megabyte of times."""
        samples = 270_000
        data = movie(Track()) + fragment(samples, at=0)
        assert seconds_of(data, tmp_path) == pytest.approx(5400)

    def test_more_boxes_than_are_looked_at(self, tmp_path: Path) -> None:
        data = movie(Track()) + b"".join(fragment(1, at=SAMPLE * each) for each in range(60_000))
        found = probed(data, tmp_path)
        assert found.duration == pytest.approx(1200, rel=0.001)
        assert found.bitrate == pytest.approx(40_000, rel=0.01)

    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_cut_off_within_a_fragment(self, kept: float, tmp_path: Path) -> None:
        data = movie(Track()) + fragment(500, at=0)
        data = data[: len(data) - int(50_000 * (1 - kept))]
        assert seconds_of(data, tmp_path) == pytest.approx(10 * kept, abs=0.1)

    def test_nothing_but_an_announcement(self, tmp_path: Path) -> None:
        assert seconds_of(movie(Track(announced=2 * RATE), announced=2000), tmp_path) is None


class TestCaps:
    """What is not looked at any more is estimated, and never left out."""

    def fragments(self, timed: bool, step: int = HALF) -> bytes:
        return b"".join(fragment(at=step * each if timed else None) for each in range(400))

    @pytest.mark.parametrize("timed", [True, False])
    @pytest.mark.parametrize("most", [3, 20])
    def test_fragments(self, timed: bool, most: int, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(movie(Track()) + self.fragments(timed))
        capped, whole = read(path, most), read(path)
        assert whole.duration == pytest.approx(200)
        assert capped.duration == pytest.approx(200, rel=1e-9 if timed else 0.03)
        assert capped.bitrate == pytest.approx(whole.bitrate, rel=0.03)

    def test_gaps_behind_the_cap(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(movie(Track()) + self.fragments(True, HALF + 4800))
        assert read(path, 3).duration == pytest.approx(399 * 0.6 + 0.5)

    def test_fragments_of_another_track(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        data = movie(Track(2, handler=b"vide"), Track(1))
        for each in range(400):
            data += fragment(at=HALF * each, track=2) * 5 + fragment(at=HALF * each)
        path.write_bytes(data)
        assert read(path, 10).duration == pytest.approx(200)

    def test_other_boxes_without_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(movie(Track()) + self.fragments(True) + box(b"free") * 5000)
        assert read(path, 500).duration == pytest.approx(200)

    def test_tables(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        data = movie(Track(samples=1000))
        times = full(b"stts", 1000, tail=b"\0\0\0\1\0\0\3\xc0" * 1000)
        sizes = full(b"stsz", 0, 1000, tail=(100).to_bytes(4, "big") * 1000)
        old = full(b"stts", 1, 1000, SAMPLE) + full(b"stsz", 100, 1000)
        assert old in data
        grown = len(times + sizes) - len(old)
        data = data.replace(old, times + sizes)
        for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            at = data.index(name) - 4
            size = int.from_bytes(data[at : at + 4], "big") + grown
            data = data[:at] + size.to_bytes(4, "big") + data[at + 4 :]
        path.write_bytes(data)
        whole, capped = read(path), read(path, largest_table=80)
        assert whole.duration == capped.duration == pytest.approx(20)
        assert whole.bitrate == capped.bitrate == 40_000


TONE = ("-f", "lavfi", "-i", "anoisesrc=d=6:r=48000:a=0.2", "-c:a", "aac", "-b:a", "96k")
FILM = ("-f", "lavfi", "-i", "testsrc=d=6:s=320x240:r=25", *TONE)
FLAGS = (
    "frag_keyframe",
    "frag_keyframe+empty_moov",
    "frag_keyframe+empty_moov+default_base_moof",
    "frag_keyframe+empty_moov+separate_moof",
    "frag_every_frame+empty_moov",
    "dash+delay_moov+global_sidx",
    "empty_moov+omit_tfhd_offset+skip_trailer",
    "faststart",
    "isml+frag_keyframe",
    "cmaf",
)


@needs_ffmpeg
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("source", [TONE, FILM], ids=["sound", "film"])
def test_like_ffprobe(source: tuple[str, ...], flags: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*source, "-movflags", flags, "-frag_duration", "700000", path)
    packets = subprocess.run(
        [
            "ffprobe",
            "-v",
            "quiet",
            "-select_streams",
            "a",
            "-show_entries",
            "packet=size",
            "-of",
            "csv=p=0",
            path,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    found = probe(path)
    assert found.duration == pytest.approx(6.0, abs=0.1)
    assert found.duration == pytest.approx(ffprobe(path)["duration"], abs=0.06)
    expected = sum(int(size.strip(",")) for size in packets) * 8 / 6
    assert found.bitrate == pytest.approx(expected, rel=0.03)
