"""The demo clips: real WAV files, the same everywhere, and worth listening to."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import math
import shutil
import statistics
import struct
import subprocess
import wave
from itertools import combinations
from pathlib import Path

import pytest

from mosic.demo import instruments, synth
from mosic.demo.instruments import RATE, Sound
from mosic.demo.synth import DEMO_CLIPS, DemoClip, render

# Whoever changes a note records it here. That they hold on every Python and machine is the point of them.
DIGESTS = {
    "tidal-drift.wav": "56843ccd86e24f20857bb73c699dba4fd8e5597699655f956e80acf7b3cae22e",
    "neon-orbit.wav": "979bf032e6a3fb4be6e2172cb359fdfa44a5d16995d636005794bfddbd02b9a1",
    "porch-light.wav": "c9362870fdbeb4d72072c8fbf7c74c5c9391b2738787c161a8cbf3f8f52e8955",
    "rain-on-the-roof.wav": "081f7a48d27f2eaaffa5b4961ea385bcb4db4b413f60da2d0f1ff502431051f6",
    "last-set.wav": "3a1dae35f74f990bad6845b47cd939d1d6865d0fe9c5bca897f405ed5dd825d0",
    "warehouse-door.wav": "4307dfad0e0065bf37c9d458a83189daf59e113f640dd06da19d52ba7979753c",
}
EACH = pytest.mark.parametrize("clip", DEMO_CLIPS, ids=lambda clip: clip.file_name)
FULL = 32_768


@pytest.fixture(scope="module")
def rendered() -> dict[DemoClip, bytes]:
    return {clip: render(clip) for clip in DEMO_CLIPS}


def sides_of(data: bytes) -> tuple[Sound, Sound]:
    with wave.open(io.BytesIO(data)) as file:
        words = struct.unpack(f"<{2 * file.getnframes()}h", file.readframes(file.getnframes()))
    return [word / FULL for word in words[::2]], [word / FULL for word in words[1::2]]


def loudness(sound: Sound) -> float:
    """RMS in dB below full scale."""
    return 10 * math.log10(math.fsum(x * x for x in sound) / len(sound) + 1e-12)


def octaves(sound: Sound) -> list[float]:
    """Share of the energy, in dB, of each octave from the top (8–16 kHz) down, by Haar wavelets."""
    energies: list[float] = []
    while len(energies) < 8:
        pairs = list(zip(sound[::2], sound[1::2], strict=False))
        energies.append(math.fsum((a - b) ** 2 for a, b in pairs) * 2 ** len(energies))
        sound = [(a + b) / 2 for a, b in pairs]
    return [10 * math.log10(energy / math.fsum(energies)) for energy in energies]


def test_six_pieces_of_different_kinds() -> None:
    assert [clip.track_number for clip in DEMO_CLIPS] == [1, 2, 3, 4, 5, 6]
    for values in zip(*((clip.file_name, clip.title, clip.genre) for clip in DEMO_CLIPS), strict=True):
        assert len(set(values)) == 6


@EACH
def test_is_a_wav_that_python_reads(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    with wave.open(io.BytesIO(rendered[clip])) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getcomptype()) == (2, 2, "NONE")
        assert 5 <= file.getnframes() / file.getframerate() <= 8


@EACH
def test_chunks_fill_the_file(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    """Sizes are even and add up, and the tags come first, where a reader of the beginning finds them."""
    data = rendered[clip]
    assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    names, at = [], 12
    while at < len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        names.append(data[at : at + 4])
        at += 8 + size + size % 2
    assert at == len(data)
    assert names == [b"fmt ", b"LIST", b"data"]


@EACH
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
def test_ffprobe_reads_the_tags(clip: DemoClip, rendered: dict[DemoClip, bytes], tmp_path: Path) -> None:
    path = tmp_path / clip.file_name
    path.write_bytes(rendered[clip])
    asked = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    run = subprocess.run(asked, capture_output=True, check=True)
    assert run.stderr == b""
    found = json.loads(run.stdout)
    assert found["format"]["tags"] == {
        "title": clip.title,
        "artist": "Mosic",
        "album": "Mosic demo",
        "genre": clip.genre,
        "date": "2026",
        "track": f"{clip.track_number}/6",
    }
    assert found["streams"][0]["codec_name"] == "pcm_s16le"
    assert float(found["format"]["duration"]) == pytest.approx(
        len(sides_of(rendered[clip])[0]) / RATE, abs=1e-5
    )


def test_all_together_are_small(rendered: dict[DemoClip, bytes]) -> None:
    assert sum(map(len, rendered.values())) <= 5_000_000


@EACH
def test_same_bytes_everywhere(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    assert hashlib.sha256(rendered[clip]).hexdigest() == DIGESTS[clip.file_name]


def test_same_bytes_again(rendered: dict[DemoClip, bytes]) -> None:
    """Nothing is carried over from one piece to the next."""
    for clip in (DEMO_CLIPS[5], DEMO_CLIPS[3]):
        assert render(clip) == rendered[clip]


@pytest.mark.parametrize("module", [synth, instruments], ids=lambda module: module.__name__)
def test_only_exact_arithmetic(module: object) -> None:
    """What the C library computes differs in the last bit between machines, and `sum` between Pythons."""
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Pow), "** on floats is the C library's pow"
        if isinstance(node, ast.Name):
            assert node.id not in {"sum", "pow", "complex"}
        if isinstance(node, ast.ImportFrom) and node.module == "math":
            assert {alias.name for alias in node.names} <= {"sqrt", "ldexp"}
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"math", "cmath", "random", "statistics"}


@EACH
def test_peak_is_3_db_below_full_scale(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    peak = max(abs(x) for side in sides_of(rendered[clip]) for x in side)
    assert 20 * math.log10(peak) == pytest.approx(-3, abs=0.02)


@EACH
def test_loud_enough_all_along(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    for side in sides_of(rendered[clip]):
        assert -22 <= loudness(side) <= -12
        # The last second fades; before that there is music in every quarter of a second after the first.
        for at in range(RATE // 4, len(side) - RATE, RATE // 4):
            assert loudness(side[at : at + RATE // 4]) > -35, f"silence at {at / RATE} s"


@EACH
def test_no_offset(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    for side in sides_of(rendered[clip]):
        assert abs(math.fsum(side) / len(side)) < 0.001


@EACH
def test_begins_and_ends_in_silence(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    for side in sides_of(rendered[clip]):
        assert side[0] == 0
        assert abs(side[-1]) < 2 / FULL
        assert loudness(side[-RATE // 100 :]) < -50


@EACH
def test_is_stereo(clip: DemoClip, rendered: dict[DemoClip, bytes]) -> None:
    left, right = sides_of(rendered[clip])
    assert loudness([a - b for a, b in zip(left, right, strict=True)]) > loudness(left) - 20
    assert loudness(left) == pytest.approx(loudness(right), abs=3)


def test_they_sound_different(rendered: dict[DemoClip, bytes]) -> None:
    bands = {clip.genre: octaves(sides_of(data)[0]) for clip, data in rendered.items()}
    for one, other in combinations(bands, 2):
        apart = max(abs(a - b) for a, b in zip(bands[one], bands[other], strict=True))
        assert apart > 4, f"{one} and {other} have the same spectrum"
    # Rain is a hiss; a pad has least of it; what makes people dance is low.
    assert max(bands, key=lambda genre: bands[genre][0]) == "Nature"
    assert min(bands, key=lambda genre: bands[genre][0]) == "Ambient"
    assert max(bands, key=lambda genre: bands[genre][7]) == "Tech House"


def test_the_beat_is_steady(rendered: dict[DemoClip, bytes]) -> None:
    """126 beats a minute: the loudness of tech house repeats after a bar, and at no tempo beside it."""
    data = next(data for clip, data in rendered.items() if clip.genre == "Tech House")
    sound, hop = sides_of(data)[0], 160
    curve = [math.fsum(map(abs, sound[at : at + hop])) for at in range(0, 5 * RATE, hop)]

    def repeats(tempo: float) -> float:
        lag = round(4 * 60 / tempo * RATE / hop)
        return statistics.correlation(curve[:-lag], curve[lag:])

    assert repeats(126) > 0.8
    assert max(repeats(120), repeats(132)) < 0.5


def strength(sound: Sound, pitch: float) -> float:
    """How much of one frequency is in a sound."""
    turns = [math.tau * pitch * i / RATE for i in range(len(sound))]
    across = math.fsum(x * math.cos(turn) for x, turn in zip(sound, turns, strict=True))
    along = math.fsum(x * math.sin(turn) for x, turn in zip(sound, turns, strict=True))
    return math.hypot(across, along)


@pytest.mark.parametrize(
    ("note", "pitch"), [("A4", 440.0), ("C4", 261.626), ("F#2", 92.499), ("G#5", 830.609)]
)
def test_notes_have_their_pitch(note: str, pitch: float) -> None:
    assert instruments.hertz(note) == pytest.approx(pitch, abs=0.001)


@pytest.mark.parametrize("note", ["F2", "C#4", "D5"])
@pytest.mark.parametrize("instrument", ["string", "piano", "pad"])
def test_instruments_are_in_tune(instrument: str, note: str) -> None:
    """To within 5 cents; a string of whole samples would be 15 sharp at D5."""
    pitch = instruments.hertz(note)
    sound = {
        "string": lambda: instruments.pluck(note, 2, "finger", 2600),
        "piano": lambda: instruments.piano(note, 2, 0.5),
        "pad": lambda: instruments.tone(pitch, (1,), 2),
    }[instrument]()
    cents = range(-40, 41, 5)
    strongest = max(cents, key=lambda cent: strength(sound[:RATE], pitch * 2 ** (cent / 1200)))
    assert abs(strongest) <= 5
