"""The waveform and the silence of audio that comes in blocks, in memory that does not grow with it."""

from __future__ import annotations

from array import array
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mosic.wire.waveform import FULL_SCALE, MOST_PIXELS, Waveform

SMALLEST_PIXEL = 64
"""Samples: each pixel has a power of two times so many."""

SILENT_BELOW = 10 ** (-60 / 20)
"""-60 dBFS: a sample that is nearer to zero is silence."""

Samples = npt.NDArray[np.float32]
_Peaks = npt.NDArray[np.int16]
_Values = TypeVar("_Values", Samples, _Peaks)


class Envelope:
    """The lowest and highest values over all channels together, and where the first and last sound is."""

    def __init__(self, sample_rate: int, *, most_pixels: int = MOST_PIXELS) -> None:
        """`most_pixels` is even."""
        self._rate = sample_rate
        self._most = most_pixels
        self._together = 1
        # Of `_together` smallest pixels each; fewer than `_most`.
        self._lows, self._highs = np.empty(0, np.int16), np.empty(0, np.int16)
        # Smallest pixels that are not joined yet.
        self._waiting: list[tuple[_Peaks, _Peaks]] = []
        self._waiting_pixels = 0
        self._samples = 0
        self._first_sound: int | None = None
        self._behind_last_sound = 0

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    def add(self, block: Samples) -> None:
        """A row of `block` has the samples of one moment. All blocks but the last have a multiple of
        `SMALLEST_PIXEL` rows. What is not a number counts as silence, what is beyond full scale as full
        scale."""
        if not len(block):
            return
        lows, highs = _extremes(block)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            block = np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0)
            lows, highs = _extremes(block)
        self._find_sound(block, lows, highs)
        self._samples += len(block)
        self._waiting.append((_whole(lows), _whole(highs)))
        self._waiting_pixels += len(lows)
        if self._waiting_pixels >= self._most:
            self._join()

    def _find_sound(self, block: Samples, lows: Samples, highs: Samples) -> None:
        loud = np.flatnonzero(np.maximum(-lows, highs) >= SILENT_BELOW)
        if not len(loud):
            return
        if self._first_sound is None:
            self._first_sound = self._samples + int(_loud_samples(block, int(loud[0]))[0])
        self._behind_last_sound = self._samples + int(_loud_samples(block, int(loud[-1]))[-1]) + 1

    def _join(self) -> None:
        if not self._waiting:
            return
        lows = np.concatenate([low for low, _ in self._waiting])
        highs = np.concatenate([high for _, high in self._waiting])
        while pixels := min(len(lows) // self._together, self._most - len(self._lows)):
            taken = pixels * self._together
            low, high = _joined(lows[:taken], highs[:taken], self._together)
            self._lows = np.concatenate((self._lows, low))
            self._highs = np.concatenate((self._highs, high))
            lows, highs = lows[taken:], highs[taken:]
            if len(self._lows) == self._most:
                self._lows, self._highs = _joined(self._lows, self._highs, 2)
                self._together *= 2
        self._waiting, self._waiting_pixels = [(lows, highs)], len(lows)

    def waveform(self) -> Waveform:
        """Of all that was added."""
        self._join()
        lows, highs = self._lows, self._highs
        for waiting in self._waiting:
            rest = _joined(*waiting, self._together)
            lows, highs = np.concatenate((lows, rest[0])), np.concatenate((highs, rest[1]))
        peaks = array("h")
        peaks.frombytes(np.column_stack((lows, highs)).tobytes())
        return Waveform(self._rate, SMALLEST_PIXEL * self._together, peaks)

    def silence(self) -> tuple[float, float]:
        """Seconds before the first and behind the last sound; the whole duration twice when there is none."""
        if self._first_sound is None:
            return self.seconds, self.seconds
        return self._first_sound / self._rate, (self._samples - self._behind_last_sound) / self._rate


def _loud_samples(block: Samples, pixel: int) -> npt.NDArray[np.intp]:
    start = pixel * SMALLEST_PIXEL
    part = np.abs(block[start : start + SMALLEST_PIXEL]).max(axis=1)
    return np.flatnonzero(part >= SILENT_BELOW) + start


def _extremes(block: Samples) -> tuple[Samples, Samples]:
    """Of each smallest pixel; the last may be of fewer samples."""
    width = SMALLEST_PIXEL * block.shape[1]
    if block.size % width:
        starts = np.arange(0, block.size, width)
        return np.minimum.reduceat(block.ravel(), starts), np.maximum.reduceat(block.ravel(), starts)
    pixels = block.reshape(-1, width)
    return pixels.min(axis=1), pixels.max(axis=1)


def _joined(lows: _Values, highs: _Values, together: int) -> tuple[_Values, _Values]:
    """Each `together` pairs as one; the last may be of fewer."""
    if together == 1 or not len(lows):
        return lows, highs
    starts = np.arange(0, len(lows), together)
    return np.minimum.reduceat(lows, starts), np.maximum.reduceat(highs, starts)


def _whole(values: Samples) -> _Peaks:
    return np.clip(np.rint(np.clip(values, -1, 1) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
