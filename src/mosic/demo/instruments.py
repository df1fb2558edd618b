"""Sounds made by arithmetic alone: the instruments that the demo pieces of `synth` are played on.

A sound is a list of samples at `RATE`; levels are free, as the finished mix is scaled once. The same numbers
come out on every machine with IEEE 754 doubles and every Python, on which `synth` relies. Hence floats meet
only `+ - * /`, `sqrt` and `ldexp`, whose results the standard fixes to the last bit: `math.sin`, `math.exp`
and `**` come from the C library and differ between libraries, and `sum()` of floats changed in Python 3.12.
Noise and chance come from SHAKE-128, which FIPS 202 fixes, not from `random`, most of whose methods may
change with a release.

Nearly all loops are list comprehensions: some 50 ns a sample for each pass over a sound.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from math import ldexp, sqrt
from operator import add, mul

Sound = list[float]

RATE = 32_000
_TAU = 6.283185307179586
_LN_1000 = 6.907755278982137  # a fall by 60 dB
_DEGREES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SEMITONES = tuple(accumulate(repeat(1.0594630943592953, 11), mul, initial=1.0))
_CYCLE = 16_384


def hertz(note: str) -> float:
    """Pitch of a note such as `A4` (440) or `F#2`, in equal temperament."""
    semitones = 12 * int(note[-1]) + _DEGREES[note[0]] + ("#" in note) - 57
    return 440 * ldexp(_SEMITONES[semitones % 12], semitones // 12)


def noise(name: str, count: int) -> Sound:
    """White noise from -1 to 1; another name gives another noise."""
    words = hashlib.shake_128(name.encode()).digest(2 * count)
    return [word / 32_768 for word in struct.unpack(f"<{count}h", words)]


def line(*points: tuple[float, float]) -> Sound:
    """Straight lines through points of (seconds, value)."""
    sound: Sound = []
    for (start, low), (stop, high) in pairwise(points):
        count = round(stop * RATE) - round(start * RATE)
        sound += accumulate(repeat((high - low) / count, count - 1), initial=low)
    return sound


def fall(decay: float, seconds: float) -> Iterator[float]:
    """From 1 down by 60 dB in `decay` seconds, for `seconds`."""
    return accumulate(repeat(1 - _LN_1000 / (decay * RATE), round(seconds * RATE) - 1), mul, initial=1.0)


def shaped(sound: Iterable[float], shape: Iterable[float]) -> Sound:
    return list(map(mul, sound, shape))


def damped(sound: Sound, seconds: float) -> Sound:
    """The sound, its last `seconds` faded out."""
    count = min(len(sound), round(seconds * RATE))
    return sound[:-count] + shaped(sound[-count:], line((0, 1), (count / RATE, 0)))


def lowpass(sound: Iterable[float], corner: float) -> Sound:
    """One pole, 6 dB an octave above `corner` hertz."""
    share = _TAU * corner / (RATE + _TAU * corner)
    y = 0.0
    return [y := y + share * (x - y) for x in sound]


def highpass(sound: Iterable[float], corner: float) -> Sound:
    """One pole, 6 dB an octave below `corner` hertz."""
    share = _TAU * corner / (RATE + _TAU * corner)
    y = 0.0
    return [x - (y := y + share * (x - y)) for x in sound]


def swept(sound: Iterable[float], corners: Iterable[float]) -> Sound:
    """`lowpass` with a corner that moves."""
    scale = RATE / _TAU
    y = 0.0
    return [y := y + f / (scale + f) * (x - y) for x, f in zip(sound, corners, strict=False)]


def comb(sound: Sound, period: float, gain: float, blur: float = 0.0) -> Sound:
    """`sound` and its echoes, `period` samples apart, each `gain` times the one before and duller by `blur`.

    The echo is spread over three taps. Their mean is the period to a fraction of a sample, their variance is
    `blur` whatever the fraction, so that strings of every pitch are in tune and lose their brightness alike.
    """
    delay = round(period)
    shift = period - delay
    late = gain * (blur + shift * (shift + 1)) / 2
    even = gain * (1 - blur - shift * shift)
    early = gain * (blur + shift * (shift - 1)) / 2
    out = [0.0] * (delay + 1)
    for start in range(0, len(sound), delay - 1):
        past = out[-delay - 1 :]
        fresh = sound[start : start + delay - 1]
        out += [
            x + late * a + even * b + early * c
            for x, a, b, c in zip(fresh, past, past[1:], past[2:], strict=False)
        ]
    return out[delay + 1 :]


def _cosine(angle: float) -> float:
    """By its power series: good to the last digits up to π."""
    term = total = 1.0
    for k in range(2, 32, 2):
        term *= -angle * angle / (k * (k - 1))
        total += term
    return total


def ring(pitch: float, decay: float, seconds: float) -> Sound:
    """A sine of `pitch` hertz that starts at 0 and falls by 60 dB in `decay` seconds."""
    angle = _TAU * pitch / RATE
    shrink = 1 - _LN_1000 / (decay * RATE)
    a, b = 2 * shrink * _cosine(angle), -shrink * shrink
    older, newer = 0.0, shrink * _cosine(angle - _TAU / 4)
    sound = [older, newer]
    for _ in range(round(seconds * RATE / 2) - 1):  # two at a time, which spares swapping the two
        sound.append(older := a * newer + b * older)
        sound.append(newer := a * older + b * newer)
    return sound


_SINE = ring(RATE / _CYCLE, 1e18, _CYCLE / RATE)
SAW = tuple(1 / k for k in range(1, 33))
SOFT = tuple(1 / (k * sqrt(k)) for k in range(1, 13))


def tone(pitch: float, levels: Sequence[float], seconds: float) -> Sound:
    """A steady tone whose partials have these levels, in tune to a cent.

    It is one loop of whole cycles, repeated: a long chord costs little more than a short one.
    """
    shortest = max(400, round(RATE / pitch))
    length = min(
        range(shortest, shortest + 500),
        key=lambda n: abs(n * pitch / RATE - round(n * pitch / RATE)) / n,
    )
    cycles = round(length * pitch / RATE)
    loop = [0.0] * length
    for number, level in enumerate(levels, 1):
        if level and number * pitch < 0.45 * RATE:
            step = number * cycles * _CYCLE
            loop = [x + level * _SINE[i * step // length % _CYCLE] for i, x in enumerate(loop)]
    count = round(seconds * RATE)
    return (loop * (count // length + 1))[:count]


def gliding(pitches: Iterable[float]) -> Sound:
    """A sine whose pitch moves."""
    scale = _CYCLE / RATE
    return [_SINE[int(phase) % _CYCLE] for phase in accumulate(scale * pitch for pitch in pitches)]


def pluck(note: str, seconds: float, finger: str, bright: float) -> Sound:
    """A plucked string after Karplus and Strong: noise up to `bright` hertz goes round in a comb."""
    pitch = hertz(note)
    burst = lowpass(lowpass(noise(finger, int(RATE / pitch)), bright), 2 * bright)
    # Plucked at a seventh of its length, a string lacks every seventh partial. The burst less its turned self
    # has no offset either, which the comb would keep for ever.
    reach = len(burst) // 7
    burst = [a - b for a, b in zip(burst, burst[reach:] + burst[:reach], strict=True)]
    silence = [0.0] * (round(seconds * RATE) - len(burst))
    return comb(burst + silence, RATE / pitch, 1 - 1.15 / pitch, 0.3)


def piano(note: str, seconds: float, force: float) -> Sound:
    """A struck string: the higher a partial the sooner it dies. And the knock of the hammer."""
    pitch = hertz(note)
    decay = 5.5 * sqrt(220 / pitch)
    # A hammer at an eighth of the string wakes no eighth partial.
    levels = [abs(_SINE[k * _CYCLE // 16 % _CYCLE]) / (k * sqrt(k)) for k in range(1, 17)]
    middle, high = [0.0, *levels[1:5]], [0.0] * 5 + [force * level for level in levels[5:]]
    parts = (
        ring(pitch, decay, seconds),
        # Stiff as it is, its partials are a little sharp.
        shaped(tone(pitch * 1.0006, middle, seconds), fall(decay / 2, seconds)),
        shaped(tone(pitch * 1.0018, high, seconds), fall(decay / 6, seconds)),
    )
    sound = [levels[0] * x + y + z for x, y, z in zip(*parts, strict=False)]
    knock = shaped(lowpass(noise(note, 1600), 500), fall(0.05, 0.05))
    sound[:1600] = [x + 0.4 * force * y for x, y in zip(sound, knock, strict=False)]
    return damped(sound, 0.09)


def key(note: str, seconds: float, bright: float, dark: float, decay: float) -> Sound:
    """A key of a synthesiser: a saw whose filter closes from `bright` to `dark` hertz after every stroke."""
    corners = [dark + bright * x for x in fall(decay, seconds)]
    saw = tone(hertz(note), SAW, seconds)
    return damped(highpass(shaped(swept(swept(saw, corners), corners), fall(decay * 2, seconds)), 30), 0.03)


def bell(note: str) -> list[tuple[float, Sound]]:
    """The (level, sound) of the partials of a bar of metal."""
    partials = ((1, 1, 2.6), (2.76, 0.35, 1.1), (5.4, 0.12, 0.5))
    return [(level, ring(hertz(note) * ratio, decay, decay * 0.7)) for ratio, level, decay in partials]


def kick(high: float, low: float, seconds: float) -> Sound:
    """A bass drum: a sine that drops from `high` to `low` hertz."""
    drop = [low + (high - low) * x * x for x in fall(0.16, seconds)]
    return damped(highpass(shaped(gliding(drop), fall(seconds * 1.6, seconds)), 30), 0.05)


def hiss(name: str, corner: float, decay: float, seconds: float) -> Sound:
    """Noise that falls away: cymbals, brushes, shakers."""
    bright = highpass(highpass(noise(name, round(seconds * RATE)), corner), corner)
    return damped(shaped(bright, fall(decay, seconds)), seconds / 3)


def clap(name: str) -> Sound:
    """A few hands, not quite together."""
    hands = (0.0, 0.011, 0.022, 0.034)
    strokes = [point for at in hands for point in ((at, 1.0), (at + 0.0108, 0.15))]
    shape = line((0, 0), *((0.0005 + at, level) for at, level in strokes), (0.1, 0.08), (0.28, 0))
    return shaped(lowpass(highpass(noise(name, len(shape)), 900), 4000), shape)


class Mix:
    """A stereo recording of fixed length that sounds are laid into; `sides` are left and right."""

    def __init__(self, seconds: float) -> None:
        count = 2 * round(seconds * RATE / 2)
        self.sides: tuple[Sound, Sound] = ([0.0] * count, [0.0] * count)

    def add(self, at: float, sound: Sound, level: float = 1.0, pan: float = 0.0) -> None:
        """Lay a sound in at `at` seconds; `pan` goes from -1, left only, to 1, right only."""
        start = round(at * RATE)
        stop = start + len(sound)
        for side, share in zip(self.sides, (1 - pan, 1 + pan), strict=True):
            gain = level * min(share, 1)
            if gain:
                side[start:stop] = [x + gain * y for x, y in zip(side[start:stop], sound, strict=False)]

    def join(self, other: Mix, times: int = 1) -> None:
        """Add another recording, played `times` times on end."""
        for side, more in zip(self.sides, other.sides, strict=True):
            side[: times * len(more)] = map(add, side, more * times)

    def echo(self, left: float, right: float, gain: float, blur: float) -> None:
        """Repeat either side after its own number of seconds, again and again."""
        for side, seconds in zip(self.sides, (left, right), strict=True):
            side[:] = comb(side, seconds * RATE, gain, blur)

    def drive(self, gain: float) -> None:
        """Make it `gain` times louder and round off what then goes beyond 1, as a tape does."""
        for side in self.sides:
            side[:] = highpass([gain * x / sqrt(1 + gain * gain * x * x) for x in side], 15)

    def room(self, level: float, decay: float, blur: float = 0.4) -> None:
        """Add the sound of a room (Schroeder's reverberator), which dies away in `decay` seconds.

        It runs at half the rate, as a room swallows the treble. One set of combs, mixed with two sets of
        signs, makes two sides that have little in common.
        """
        left, right = self.sides
        heard = map(add, map(add, left[::2], left[1::2]), map(add, right[::2], right[1::2]))
        diffuse = _smeared(_smeared(list(heard), 83), 29)
        combs = []
        for delay in (479, 593, 661, 701):
            loss = _LN_1000 * delay / (decay * RATE)
            combs.append(comb(diffuse, delay, (1 - loss) / (1 + loss), blur))
        tails = (
            [level * (a - b + c - d) for a, b, c, d in zip(*combs, strict=True)],
            [level * (a + b - c - d) for a, b, c, d in zip(*combs, strict=True)],
        )
        for side, tail in zip(self.sides, tails, strict=True):
            between = [(x + y) / 2 for x, y in zip(tail, [*tail[1:], 0.0], strict=True)]
            side[::2] = map(add, side[::2], tail)
            side[1::2] = map(add, side[1::2], between)


def _smeared(sound: Sound, delay: int) -> Sound:
    """Schroeder's all-pass: a click becomes many, and no pitch is favoured."""
    late = [0.0] * delay + comb(sound, delay, 0.6)
    return [0.64 * y - 0.6 * x for x, y in zip(sound, late, strict=False)]
