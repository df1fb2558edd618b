"""The audio that is sent."""

from __future__ import annotations

from prometheus_client import Gauge

from mosic.metrics.counting import Count, Counting

_FIRST_BYTE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)


class StreamMetrics:
    def __init__(self, counting: Counting) -> None:
        self._streams = counting.counter(
            "mosic_streams", "Audio responses begun (200 and 206 with a body), both plays and seeks."
        ).labelled()
        self._stream_outcomes = counting.counter(
            "mosic_streams_ended",
            "Requests for audio by outcome: complete, client-disconnected, or the code of the error.",
            ["outcome"],
        )
        self._first_byte = counting.histogram(
            "mosic_stream_first_byte_seconds",
            "Time from the request's head until the first bytes of audio were ready to be sent.",
            _FIRST_BYTE_BUCKETS,
        ).labelled()
        self._stream_bytes = counting.counter(
            "mosic_stream_bytes", "Bytes of audio passed to the network."
        ).labelled()
        self._active_streams = Gauge(
            "mosic_active_streams",
            "Audio responses being sent now.",
            registry=counting.registry,
            multiprocess_mode="livesum",
        )
        self._outcomes: dict[str, Count] = {}

    def opened(self, seconds: float) -> None:
        """Its first bytes are ready to be sent, so long after the request's head."""
        self._first_byte.observe(seconds)

    def began(self) -> None:
        self._streams.inc()
        self._active_streams.inc()

    def sent(self, sent: int) -> None:
        """One that began and ended at once."""
        self._streams.inc()
        self._stream_bytes.inc(sent)

    def ended(self, sent: int) -> None:
        self._active_streams.dec()
        self._stream_bytes.inc(sent)

    def outcome(self, outcome: str) -> None:
        """What became of a request for audio: `complete`, or the code of what ended or refused it."""
        known = self._outcomes.get(outcome)
        if known is None:
            known = self._outcomes[outcome] = self._stream_outcomes.labelled(outcome)
        known.inc()
