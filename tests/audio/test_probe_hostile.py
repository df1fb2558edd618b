"""Files made to do harm: broken everywhere, endless, enormous. Each is read or refused, and soon."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mutagen
import pytest

from mosic.audio.info import AudioInfo
from mosic.audio.probe import probe
from mosic.errors import UnreadableMedia, UnsupportedMedia
from tests.audio.bombs import BOMBS, MEBIBYTE, SONG, SOUND_WITH_BOMB, box
from tests.audio.made import BY_NAME, KINDS, ffmpeg, frames, make, make_many
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import wav
from tests.support.speed import slowness


def judge(path: Path) -> AudioInfo | None:
    """All that a probe may do, whatever the bytes: find what can be stored, or refuse in one of two ways."""
    try:
        found = probe(path)
    except (UnsupportedMedia, UnreadableMedia):
        return None
    assert found.duration is None or 0 < found.duration < 1e9
    for number in (found.bitrate, found.sample_rate, found.channels, found.track_number, found.disc_number):
        assert number is None or 0 < number < 2**31
    for name, values in found.tags.items():
        for text in (name, *values):
            assert text
            assert "\0" not in text
            text.encode()
    return found


@contextmanager
def soon(seconds: float = 6) -> Iterator[None]:
    """Much more than it takes, much less than a worker's limit."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds * slowness()


@contextmanager
def modestly(memory: int = 24 * MEBIBYTE) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The file after an accident: cut, bytes changed, numbers made extreme."""
    broken = bytearray(data)
    if chance.random() < 0.3:
        del broken[chance.randrange(len(broken)) :]
    reach = min(len(broken), 600) if chance.random() < 0.7 else len(broken)
    for _ in range(chance.choice((0, 1, 3, 30)) if reach else 0):
        broken[chance.randrange(reach)] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))
    if reach and chance.random() < 0.2:
        at = chance.randrange(reach)
        broken[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\1"))
    return bytes(broken)


def batter(made: Path, path: Path, times: int, seed: int) -> int:
    chance = random.Random(seed)
    survived = 0
    for sound in make_many(made, [(kind, kind.rates[0], kind.channels[-1]) for kind in KINDS]):
        data = sound.read_bytes()
        for _ in range(times):
            path.write_bytes(damaged(data, chance))
            with soon(1):
                survived += judge(path) is not None
    return survived


@needs_ffmpeg
def test_damaged(made: Path, tmp_path: Path) -> None:
    assert batter(made, tmp_path / "a", 10, seed=1) > 100


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damaged_a_lot(made: Path, tmp_path: Path) -> None:
    assert batter(made, tmp_path / "a", 120, seed=2) > 1_200


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cut_off_anywhere(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "a"
    for sound in make_many(made, [(kind, kind.rates[0], kind.channels[-1]) for kind in KINDS]):
        data = sound.read_bytes()
        for end in [*range(min(len(data), 200)), *range(200, len(data), 1997)]:
            path.write_bytes(data[:end])
            found = judge(path)
            assert found is None or found.duration is None or found.duration < 3


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BOMBS[name])
    with soon():
        judge(tmp_path / "a")


@pytest.mark.parametrize("name", SOUND_WITH_BOMB)
def test_the_sound_behind_a_bomb_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(SOUND_WITH_BOMB[name])
    with modestly(64 * MEBIBYTE):
        found = judge(tmp_path / "a")
    assert found
    assert found.duration == pytest.approx(40 * 1152 / 44100)


def with_hole(path: Path, before: bytes, hole: int, after: bytes) -> None:
    """Zeros in the middle that need no room on the disk."""
    with path.open("wb") as file:
        file.write(before)
        file.seek(hole, 1)
        file.write(after)


class TestCover:
    """A hundred megabytes of picture: sound and text are kept, the picture is not even read."""

    SIZE = 100 * MEBIBYTE

    def read(self, path: Path, duration: float) -> None:
        with modestly(), soon():
            found = judge(path)
        assert found
        assert found.title == "Song"
        assert found.duration == pytest.approx(duration, abs=0.01)

    def tagged(self, path: Path, folder: Path) -> bytes:
        ffmpeg("-i", path, "-c", "copy", "-metadata", "title=Song", folder / path.name)
        return (folder / path.name).read_bytes()

    def id3_head(self) -> bytes:
        """A tag up to its picture; behind that comes `SONG`."""
        size = 10 + self.SIZE + len(SONG)
        head = b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        return head + b"APIC" + self.SIZE.to_bytes(4, "big") + b"\0\0"

    def test_id3(self, tmp_path: Path) -> None:
        with_hole(tmp_path / "a", self.id3_head(), self.SIZE, SONG + frames())
        self.read(tmp_path / "a", 40 * 1152 / 44100)

    def test_wave(self, tmp_path: Path) -> None:
        chunk = b"id3 " + (20 + self.SIZE + len(SONG)).to_bytes(4, "little") + self.id3_head()
        with_hole(tmp_path / "a", wav(1.0) + chunk, self.SIZE, SONG)
        self.read(tmp_path / "a", 1.0)

    def test_ape(self, tmp_path: Path) -> None:
        picture = struct.pack("<II", self.SIZE, 2) + b"Cover Art (Front)\0"
        title = struct.pack("<II", 4, 0) + b"Title\0Song"
        size = len(picture) + self.SIZE + len(title) + 32
        footer = struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, 2, 0)
        with_hole(tmp_path / "a", frames() + picture, self.SIZE, title + footer)
        self.read(tmp_path / "a", 40 * 1152 / 44100)

    @needs_ffmpeg
    def test_flac(self, made: Path, tmp_path: Path) -> None:
        data = self.tagged(make(made, BY_NAME["flac"], 44100, 2), tmp_path)
        size = 16 * MEBIBYTE - 1
        with (tmp_path / "a").open("wb") as file:
            file.write(data[:42])
            for _ in range(6):
                file.write(b"\6" + size.to_bytes(3, "big"))
                file.seek(size, 1)
            file.write(data[42:])
        self.read(tmp_path / "a", 2.5)

    @needs_ffmpeg
    def test_mp4(self, made: Path, tmp_path: Path) -> None:
        """The tags are last in the index, and that in the file: a cover goes behind, all around it grows."""
        data = bytearray(self.tagged(make(made, BY_NAME["m4a"], 44100, 2), tmp_path))
        head = (self.SIZE + 24).to_bytes(4, "big") + b"covr"
        head += (self.SIZE + 16).to_bytes(4, "big") + b"data" + bytes(8)
        for name in (b"moov", b"udta", b"meta", b"ilst"):
            at = data.rindex(name) - 4
            size = int.from_bytes(data[at : at + 4], "big")
            assert at + size == len(data)
            data[at : at + 4] = (size + self.SIZE + 24).to_bytes(4, "big")
        with_hole(tmp_path / "a", bytes(data) + head, self.SIZE - 1, b"\0")
        self.read(tmp_path / "a", 2.5)

    @needs_ffmpeg
    def test_vorbis(self, made: Path, tmp_path: Path) -> None:
        """Ten megabytes, as text within the comments, over many pages."""
        path = tmp_path / "a.ogg"
        path.write_bytes(make(made, BY_NAME["vorbis"], 44100, 2).read_bytes())
        file = mutagen.File(path)
        assert file
        file["metadata_block_picture"] = ["QUJD" * (10 * MEBIBYTE // 4)]
        file["title"] = ["Song"]
        file.save()
        self.read(path, 2.5)


HEADS = (frames(), wav(1.0), b"fLaC\0\0\0\x22" + bytes(34), b"OggS", box(b"ftyp"), b"\0", b"DSD ", b"TTA1")


@pytest.mark.parametrize("head", HEADS)
def test_gigabytes(head: bytes, tmp_path: Path) -> None:
    """Three of them: no format reads or holds them all."""
    with_hole(tmp_path / "a", head, 3 << 30, b"end")
    with soon(8):
        judge(tmp_path / "a")
