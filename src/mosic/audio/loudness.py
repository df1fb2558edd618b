"""Loudness by EBU R 128 (ITU-R BS.1770-4, EBU Tech 3342), as the filter `ebur128` of FFmpeg's library has it.

The filter is also where the audio is cut into blocks of one size, for other callers that need it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.filter.context import FilterContext

# A block is also what is in the processor's caches at once.
_BLOCK_VALUES = 32768
_BLOCK_UNIT = 512
# Below, the filter's own curve cannot be had; above, three seconds of samples take too much memory.
_LOWEST_RATE = 4000
_MOST_VALUES_PER_SECOND = 16 * 192_000
# True peaks are those of the signal at four times 48 kHz.
_OVERSAMPLED = 192_000
# What the filter says when all blocks are below its absolute gate, or when there is none.
_GATE = -70.0
# Loudness range is one of blocks of three seconds.
_SHORT_TERM_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Loudness:
    """What is not defined is None: the loudness of silence, and of less than 400 ms; the range of less than
    three seconds; the peak of what is all zero. All that is there is finite."""

    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None


class Meter:
    """Takes frames, gives blocks back, and in the end the loudness of all."""

    def __init__(self, first: AudioFrame) -> None:
        """All frames have the format, the layout and the rate of the first."""
        self._rate = first.sample_rate
        channels = max(first.layout.nb_channels, 1)
        size = max(_BLOCK_VALUES // channels // _BLOCK_UNIT, 1) * _BLOCK_UNIT
        can_measure = self._rate >= _LOWEST_RATE and self._rate * channels <= _MOST_VALUES_PER_SECOND
        oversamples = can_measure and self._rate < _OVERSAMPLED
        self._graph = graph = av.filter.Graph()
        # In a process that may start none.
        graph.threads = 1
        self._source = graph.add_abuffer(
            sample_rate=self._rate, format=first.format, layout=first.layout, time_base=first.time_base
        )
        blocks = self._then(self._source, "aformat", "sample_fmts=flt")
        blocks = self._then(blocks, "asetnsamples", f"n={size}:p=0")
        blocks = self._then(blocks, "asplit", f"outputs={1 + can_measure + oversamples}")
        self._blocks = self._sink(blocks, 0)
        self._measured = self._oversampled = None
        if can_measure:
            self._measured = self._sink(self._then(blocks, "ebur128", "metadata=1", output=1))
        if oversamples:
            self._oversampled = self._sink(self._then(blocks, "aresample", str(_OVERSAMPLED), output=2))
        graph.configure()
        self._integrated = self._range = math.nan
        self._peak = 0.0
        self._samples = 0

    def _then(self, before: FilterContext, name: str, options: str, *, output: int = 0) -> FilterContext:
        added = self._graph.add(name, options)
        before.link_to(added, output)
        return added

    def _sink(self, before: FilterContext, output: int = 0) -> FilterContext:
        sink = self._graph.add("abuffersink")
        before.link_to(sink, output)
        return sink

    def push(self, frame: AudioFrame | None) -> Iterator[npt.NDArray[np.float32]]:
        """The blocks that are ready: all of one size but the last, which comes when `frame` is None, the
        end. A row has the samples of one moment."""
        self._source.push(frame)
        for made in _made(self._blocks):
            block = _samples(made)
            self._samples += len(block)
            self._see_peak(block)
            yield block
        if self._measured is not None:
            for made in _made(self._measured):
                # The last one, which is shorter than the rest, has none.
                self._integrated = float(made.metadata.get("lavfi.r128.I", self._integrated))
                self._range = float(made.metadata.get("lavfi.r128.LRA", self._range))
        # At the end the resampler makes up what would come next, which may be louder than what was there.
        if self._oversampled is not None and frame is not None:
            for made in _made(self._oversampled):
                self._see_peak(_samples(made))

    def _see_peak(self, block: npt.NDArray[np.float32]) -> None:
        # Not a number stays what it is.
        self._peak = float(np.maximum(self._peak, np.maximum(block.max(initial=0), -block.min(initial=0))))

    def loudness(self) -> Loudness:
        seconds = self._samples / self._rate
        integrated = _finite(self._integrated) if self._integrated > _GATE else None
        has_range = integrated is not None and seconds >= _SHORT_TERM_SECONDS
        peak = 20 * math.log10(self._peak) if 0 < self._peak < math.inf else None
        return Loudness(
            integrated_lufs=integrated,
            range_lu=_finite(self._range) if has_range else None,
            true_peak_dbtp=_finite(peak),
        )


def _made(sink: FilterContext) -> Iterator[AudioFrame]:
    while True:
        try:
            made = sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(made, AudioFrame)
        yield made


def _samples(frame: AudioFrame) -> npt.NDArray[np.float32]:
    # Planar frames of eight channels and more are read beyond their end by PyAV 18.1: these are packed.
    return frame.to_ndarray().reshape(frame.samples, -1).astype(np.float32, copy=False)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 2)
