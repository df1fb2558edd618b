"""Who uses which API key."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter


class KeyMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._key_requests = Counter(
            "mosic_api_key_requests",
            "Requests with a valid API key, by the key's name.",
            ["key_name"],
            registry=registry,
        )
        self._wrong_keys = Counter(
            "mosic_wrong_api_keys", "Requests with an API key that is not valid.", registry=registry
        )
        self._key_file_reads = Counter(
            "mosic_api_key_file_reads",
            "Times that the key file was read again, by outcome: taken, refused.",
            ["outcome"],
            registry=registry,
        )

    def used(self, key_name: str) -> None:
        self._key_requests.labels(key_name).inc()

    def refused(self) -> None:
        self._wrong_keys.inc()

    def file_read(self, outcome: Literal["taken", "refused"]) -> None:
        self._key_file_reads.labels(outcome).inc()
