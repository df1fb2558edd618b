"""An answered request leaves nothing that only the garbage collector can free: it would run all the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest

from mosic.server.exchange import Exchange
from tests.support.service import AUTH, Service
from tests.support.sounds import wav

ROUNDS = 5


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeakSet[Exchange]]:
    """Those that there are, while nothing collects garbage."""
    alive: WeakSet[Exchange] = WeakSet()

    class Noted(Exchange):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            alive.add(self)

    monkeypatch.setattr("mosic.server.protocol.Exchange", Noted)
    gc.disable()
    yield alive
    gc.enable()


async def test_no_exchange_outlives_its_answer(service: Service, exchanges: WeakSet[Exchange]) -> None:
    http = service.http
    long = {"description": "x" * 60_000, "title": "y" * 200}
    clip = (await http.post("/play/upload", files={"file": ("a.wav", wav())}, headers=AUTH)).json()["id"]
    await http.patch(f"/play/{clip}", json=long, headers=AUTH)
    requests = {
        "a range": ("GET", f"/play/{clip}/stream", {"Range": "bytes=10-20"}, b""),
        "a whole file": ("GET", f"/play/{clip}/stream", {}, b""),
        "a head": ("HEAD", f"/play/{clip}/stream", {}, b""),
        "a missing clip": ("GET", "/play/none/stream", {}, b""),
        "an edit": ("PATCH", f"/play/{clip}", {"Content-Type": "application/json"}, b"{}"),
        "an upload of the same": ("PUT", "/play/upload/a.wav", {"Content-Type": "audio/wav"}, wav()),
        "a refused upload": ("PUT", "/play/upload/a.wav", {"Content-Type": "audio/wav"}, b"nothing"),
        "a large answer": ("GET", "/openapi.json", {}, b""),
    }
    left = {}
    for name, (method, path, headers, body) in requests.items():
        before = len(exchanges)
        for _ in range(ROUNDS):
            await http.request(method, path, headers={**AUTH, **headers}, content=body)
        left[name] = len(exchanges) - before
    assert exchanges
    # The connection keeps its last one.
    assert max(left.values()) <= 1, left
