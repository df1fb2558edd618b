"""Six short pieces of music that Mosic makes itself, so that a new installation has something to play.

The same bytes come out on every machine and every Python (`instruments` says how): clips are deduplicated by
their sha256, so adding the demo clips a second time adds nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from operator import add, mul

from mosic.demo.instruments import (
    RATE,
    SAW,
    SOFT,
    Mix,
    bell,
    clap,
    damped,
    hertz,
    highpass,
    hiss,
    key,
    kick,
    line,
    lowpass,
    noise,
    piano,
    pluck,
    ring,
    shaped,
    swept,
    tone,
)

_PEAK = 23_197  # 3 dB below full scale


@dataclass(frozen=True)
class DemoClip:
    """One piece: its tags, and the function that plays it."""

    file_name: str
    title: str
    genre: str
    track_number: int
    play: Callable[[], Mix] = field(repr=False)
    artist: str = "Mosic"
    album: str = "Mosic demo"
    date: str = "2026"


def render(clip: DemoClip) -> bytes:
    """The clip as a WAV file: 16-bit stereo at 32 kHz, its tags in a LIST/INFO chunk before the samples.

    Always the same bytes for the same clip. It computes for up to half a second: call it off the event loop.
    """
    sides = clip.play().sides
    peak = max(abs(sample) for side in sides for sample in (max(side), min(side)))
    count = len(sides[0])
    rise, end = line((0, 0), (0.004, 1)), line((0, 1), (0.5, 0.25), (0.8, 0))
    frames = [0] * (2 * count)
    for first, side in enumerate(sides):
        side[: len(rise)] = map(mul, side, rise)
        side[-len(end) :] = map(mul, side[-len(end) :], end)
        frames[first::2] = map(float.__round__, map(mul, side, repeat(_PEAK / peak)))
    tags = {
        b"INAM": clip.title,
        b"IART": clip.artist,
        b"IPRD": clip.album,
        b"IGNR": clip.genre,
        b"ICRD": clip.date,
        b"ITRK": f"{clip.track_number}/{len(DEMO_CLIPS)}",
    }
    info = b"".join(_chunk(name, text.encode() + b"\0") for name, text in tags.items())
    pcm = struct.pack("<HHIIHH", 1, 2, RATE, 4 * RATE, 4, 16)
    samples = struct.pack(f"<{2 * count}h", *frames)
    chunks = _chunk(b"fmt ", pcm) + _chunk(b"LIST", b"INFO" + info) + _chunk(b"data", samples)
    return _chunk(b"RIFF", b"WAVE" + chunks)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def _tidal_drift() -> Mix:
    mix = Mix(6.2)
    for at, notes in ((0.0, "D2 A2 F#3 C#4 E4"), (2.5, "G2 D3 B3 D4 F#4")):
        swell = line((0, 0), (1.2, 0.8), (2.0, 1), (3.7, 0))
        corners = line((0, 300), (1.8, 2600), (3.7, 500))
        for pan, detuning in ((-1, 1.0022), (0, 0.9996), (1, 0.9972)):
            voices = [tone(hertz(note) * detuning, SOFT, 3.7) for note in notes.split()]
            choir = [a + b + c + d + e for a, b, c, d, e in zip(*voices, strict=True)]
            mix.add(at, shaped(swept(choir, corners), swell), 0.1, pan)
    bells = ((0.5, "A5"), (1.25, "E5"), (1.9, "C#6"), (2.7, "B5"), (3.4, "F#5"), (4.0, "D6"))
    for number, (at, note) in enumerate(bells):
        for level, partial in bell(note):
            mix.add(at, partial, 0.1 * level, 0.55 if number % 2 else -0.55)
    mix.room(0.11, 3.5)
    return mix


def _neon_orbit() -> Mix:
    beat = 60 / 120
    bar = 4 * beat
    mix, arpeggio, drums = Mix(3 * bar + 0.2), Mix(3 * bar + 0.2), Mix(bar)
    # The chords give way to every beat and swell back, as if the bass drum breathed.
    breath = line(*(p for b in range(4) for p in ((b * beat, 0.25), ((b + 0.8) * beat, 1))), (bar, 0.25))
    chords = (("A1", "A3 E4 B4 C5"), ("F1", "A3 C4 E4 G4"), ("G1", "B3 D4 E4 A4"))
    for number, (root, chord) in enumerate(chords):
        notes = chord.split()
        keys = [key(note, 0.3, 3500 + 1500 * number, 500, 0.35) for note in notes]
        for step in range(16):
            stroke = keys[(0, 1, 2, 3, 2, 1, 3, 2)[step % 8]]
            level = 0.36 if step % 4 else 0.45
            arpeggio.add(number * bar + step * beat / 4, stroke, level, 0.35 if step % 2 else -0.35)
        bass = key(root, beat / 2, 900, 120, 0.5)
        for step in range(8):
            mix.add(number * bar + step * beat / 2, bass, 0.5 if step % 2 else 0.35)
        for pan, detuning in ((-1, 0.996), (1, 1.0037)):
            voices = [tone(hertz(note) * detuning, SAW[:14], bar) for note in notes[:3]]
            blend = lowpass([a + b + c for a, b, c in zip(*voices, strict=True)], 1400)
            mix.add(number * bar, shaped(blend, breath), 0.13, pan)
    arpeggio.echo(0.75 * beat, beat, 0.5, 0.3)
    mix.join(arpeggio)
    drum, snare, hat = kick(190, 46, 0.35), clap("snare"), hiss("hat", 7000, 0.09, 0.08)
    for at in (0, 1.5, 2.5):
        drums.add(at * beat, drum, 0.8)
    for at in (1, 3):
        drums.add(at * beat, snare, 0.5)
        drums.add(at * beat, ring(190, 0.18, 0.2), 0.25)
    for step in range(8):
        drums.add(step * beat / 2, hat, 0.3 if step % 2 else 0.15, 0.2)
    mix.join(drums, 3)
    mix.drive(0.8)
    return mix


def _porch_light() -> Mix:
    mix = Mix(6.0)
    body = list(map(add, ring(98, 0.2, 0.25), shaped(ring(196, 0.12, 0.25), repeat(0.7))))
    hand = iter(noise("hand", 64))
    tune = "C3 G3 C4 E4 C4 G3 B2 G3 D4 G4 D4 G3 A2 G3 C4 E4 C4 G3 F2 A3 C4 E4 C4 A3"
    for number, note in enumerate(tune.split()):
        finger = number % 6
        at = max(0, 0.19 * number + 0.007 * next(hand))
        level = (0.9 if finger == 0 else 0.65 if finger == 3 else 0.55) * (1 + 0.12 * next(hand))
        string = pluck(note, 1.5 if finger == 0 else 0.9, f"{note} {number}", 2600)
        mix.add(at, damped(string, 0.3), level, (-0.25, 0.1, 0.2, 0.3, 0.2, 0.1)[finger])
        mix.add(at, body, 0.05 * level)
    for number, note in enumerate(("C3", "E3", "G3", "C4", "E4", "G4")):
        mix.add(24 * 0.19 + 0.035 * number, pluck(note, 1.45, f"strum {note}", 2600), 0.55, number / 8 - 0.3)
    mix.room(0.04, 0.9, 0.6)
    return mix


def _rain_on_the_roof() -> Mix:
    seconds = 5.0
    mix = Mix(seconds)
    gusts = line((0, 0.7), (1.6, 1), (2.9, 0.75), (4.1, 1.05), (seconds, 0.8))
    for side, name in ((-1, "left"), (1, "right")):
        # Cubed, noise is mostly still with a peak here and there: countless far drops instead of a hiss.
        drops = [x * x * x for x in noise(f"rain {name}", len(gusts))]
        mix.add(0, shaped(lowpass(highpass(drops, 900), 5200), gusts), 0.5, side)
        mix.add(0, lowpass(lowpass(noise(f"roof {name}", len(gusts)), 260), 420), 0.25, side)
    chance = iter(noise("near drops", 550))
    for at, pitch, length, strength, pan in zip(chance, chance, chance, chance, chance, strict=False):
        decay = 0.05 + 0.03 * length
        drop = ring(1900 + 1100 * pitch, decay, decay)
        mix.add((1 + at) * seconds / 2, drop, 0.16 * strength * strength, pan)
    roll = line((0, 0), (0.5, 1), (0.9, 0.6), (1.3, 0.9), (2.2, 0.35), (3.4, 0))
    thunder = lowpass(lowpass(noise("thunder", len(roll)), 60), 110)
    mix.add(1.2, shaped(highpass(highpass(thunder, 35), 35), roll), 1.9)
    return mix


def _last_set() -> Mix:
    beat = 60 / 128
    mix = Mix(13 * beat)
    chords = (((0, 1.67), 0.45, "F3 A3 C4 E4"), ((4, 5.67), 0.45, "F3 A3 B3 E4"), ((8,), 2.2, "E3 G3 B3 D4"))
    for strokes, seconds, notes in chords:
        for number, note in enumerate(notes.split()):
            sound = piano(note, seconds, 0.4)
            for at in strokes:
                mix.add(at * beat + 0.004 * number, sound, 0.32, 0.1 * number - 0.35)
    melody = (
        (0.67, 0.3, "A4"), (1, 0.35, "C5"), (1.67, 0.2, "E5"), (2, 0.4, "D5"), (2.67, 0.2, "C5"),
        (3, 0.35, "A4"), (3.67, 0.2, "F4"), (4, 0.6, "E5"), (5, 0.35, "D5"), (5.67, 0.2, "B4"),
        (6, 0.35, "A#4"), (6.67, 0.35, "G#4"), (7.67, 0.8, "G4"), (9.33, 1.2, "D5"), (10, 1.4, "E5"),
    )  # fmt: skip
    for at, seconds, note in melody:
        mix.add(at * beat, piano(note, seconds, 0.8), 0.6, 0.2)
    bass = "D2 F2 A2 G#2 G2 B2 D3 B2 C2"
    for number, note in enumerate(bass.split()):
        string = pluck(note, 0.49 if number < 8 else 2.0, f"bass {note}", 400)
        mix.add(number * beat, damped(string, 0.08), 1.3)
    ride = hiss("ride", 5200, 0.5, 0.4)
    for at in (0, 1, 1.67, 2, 3, 3.67, 4, 5, 5.67, 6, 7, 7.67):
        mix.add(at * beat, ride, 0.11 if at % 2 == 1 else 0.06, -0.4)
    mix.add(8 * beat, hiss("ride", 5200, 1.8, 1.6), 0.12, -0.4)
    mix.room(0.06, 1.2)
    return mix


def _warehouse_door() -> Mix:
    beat = 60 / 126
    mix, bar = Mix(13.5 * beat), Mix(4 * beat)
    chord = (("F3", -0.4), ("G#3", 0.0), ("C4", 0.4), ("D#4", 0.2))
    stab = [(key(note, 0.2, 4500, 400, 0.22), pan) for note, pan in chord]
    for at in (0.75, 2.5, 4.75, 6.5, 8.75, 10.5, 11.25):
        for sound, pan in stab:
            mix.add(at * beat, sound, 0.36, pan)
    mix.echo(0.75 * beat, 1.25 * beat, 0.5, 0.3)
    drum, hands = kick(240, 50, 0.3), clap("clap")
    closed, shaker = hiss("closed", 8000, 0.06, 0.06), hiss("shaker", 5000, 0.05, 0.07)
    opened = hiss("open", 6500, 0.25, 0.18)
    for number in range(4):
        bar.add(number * beat, drum, 0.85)
        bar.add((number + 0.5) * beat, opened, 0.42, 0.15)
        if number % 2:
            bar.add(number * beat, hands, 0.7)
        for step, hat in enumerate((closed, shaker, closed, shaker)):
            swing = 0.12 if hat is shaker else 0
            bar.add((number + (step + swing) / 4) * beat, hat, 0.22, 0.2 * step - 0.3)
    bass = {note: key(note, 0.115, 2200, 110, 0.2) for note in ("F1", "G#1", "D#2", "C2")}
    tune = "- - F1 F1 - F1 - G#1 - - F1 F1 - D#2 - C2"
    for step, note in enumerate(tune.split()):
        if note in bass:
            bar.add(step * beat / 4, bass[note], 0.75)
    mix.join(bar, 3)
    mix.add(12 * beat, drum, 0.85)
    mix.drive(1.5)
    return mix


DEMO_CLIPS: tuple[DemoClip, ...] = (
    DemoClip("tidal-drift.wav", "Tidal Drift", "Ambient", 1, _tidal_drift),
    DemoClip("neon-orbit.wav", "Neon Orbit", "Electronic", 2, _neon_orbit),
    DemoClip("porch-light.wav", "Porch Light", "Acoustic", 3, _porch_light),
    DemoClip("rain-on-the-roof.wav", "Rain on the Roof", "Nature", 4, _rain_on_the_roof),
    DemoClip("last-set.wav", "Last Set", "Jazz", 5, _last_set),
    DemoClip("warehouse-door.wav", "Warehouse Door", "Tech House", 6, _warehouse_door),
)
