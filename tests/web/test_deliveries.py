"""A route of its own for bytes of another kind: all but its path and what it opens is there already."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from mosic.core.delivery import Bytes, Delivery
from mosic.core.runtime import Runtime
from mosic.errors import ClipNotFound
from mosic.metrics import Metrics
from mosic.web.delivery import Deliveries
from mosic.web.deps import RUNTIME
from mosic.web.instrument import RequestRecorder
from mosic.wire.ranges import IntRange
from mosic.wire.retrieval import Retrieval

COVER = b"\x89PNG" * 1000


class Pieces:
    """The rest of a body; fails at its end if it is to."""

    def __init__(self, *pieces: bytes, fails: bool = False) -> None:
        self.pieces = list(pieces)
        self.fails = fails
        self.closed = 0

    async def next(self, size: int) -> Bytes:
        if not self.pieces and self.fails:
            raise OSError("the disk fails")
        return self.pieces.pop(0) if self.pieces else b""

    async def close(self) -> None:
        self.closed += 1


class CoverRoute:
    path = "/play/{clip_id}/cover"

    def __init__(self) -> None:
        self.asked: list[Retrieval] = []
        self.outcomes: list[str] = []
        self.times: list[float] = []
        self.rest: Pieces | None = None

    def matches(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path.endswith("/cover")

    async def open(self, rt: Runtime, scope: Scope, asked: Retrieval) -> Delivery:
        self.asked.append(asked)
        if "none" in scope["path"]:
            raise ClipNotFound
        size = len(COVER) + sum(map(len, self.rest.pieces)) if self.rest else len(COVER)
        headers = ((b"content-type", b"image/png"), (b"content-length", b"%d" % size))
        return Delivery(200, headers, b"" if asked.method == "HEAD" else COVER, self.rest)

    def opened(self, seconds: float) -> None:
        self.times.append(seconds)

    def ended(self, outcome: str) -> None:
        self.outcomes.append(outcome)


class Service:
    def __init__(self) -> None:
        self.route, self.metrics = CoverRoute(), Metrics()
        deliveries = Deliveries(self.others, [self.route], RequestRecorder(self.metrics, ""))

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await deliveries({**scope, "state": {RUNTIME: object()}}, receive, send)

        transport = httpx.ASGITransport(with_state)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://mosic")

    async def others(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"others"})

    def counted(self, status: int) -> bool:
        labels = f'method="GET",route="/play/{{clip_id}}/cover",status="{status}"'
        shown = self.metrics.exposition("")[0].decode()
        return f"mosic_total_api_requests_total{{{labels}}} 1.0" in shown


@pytest.fixture
def service() -> Service:
    return Service()


async def test_what_is_opened_is_sent_and_recorded(service: Service) -> None:
    fields = {"Range": "bytes=0-4", "If-None-Match": '"a"', "X-Request-ID": "mine"}
    response = await service.http.get("/play/x/cover", headers=fields)
    assert (response.status_code, response.content) == (200, COVER)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-request-id"] == "mine"
    (asked,) = service.route.asked
    assert (asked.method, asked.ranges) == ("GET", (IntRange(0, 4),))
    assert asked.preconditions is not None
    assert service.route.outcomes == ["complete"]
    assert len(service.route.times) == 1
    assert service.counted(200)


async def test_a_long_body_is_closed_behind_its_end(service: Service) -> None:
    service.route.rest = rest = Pieces(b"1" * 5000, b"2" * 7000)
    response = await service.http.get("/play/x/cover")
    assert response.content == COVER + b"1" * 5000 + b"2" * 7000
    assert rest.closed == 1


async def test_a_body_that_fails_cuts_the_response_and_is_closed(service: Service) -> None:
    service.route.rest = rest = Pieces(b"1" * 5000, fails=True)
    with pytest.raises(OSError, match="the disk fails"):
        await service.http.get("/play/x/cover")
    assert rest.closed == 1
    assert service.route.outcomes == ["internal-error"]


async def test_a_refusal_is_a_problem(service: Service) -> None:
    response = await service.http.get("/play/none/cover")
    assert (response.status_code, response.json()["code"]) == (404, "clip-not-found")
    assert response.headers["x-request-id"]
    assert service.route.outcomes == ["clip-not-found"]
    assert service.counted(404)


@pytest.mark.parametrize(("method", "path"), [("POST", "/play/x/cover"), ("GET", "/play/x")])
async def test_other_requests_are_for_others(service: Service, method: str, path: str) -> None:
    assert (await service.http.request(method, path)).text == "others"
    assert service.route.asked == []


async def test_a_head_has_no_ranges(service: Service) -> None:
    response = await service.http.head("/play/x/cover", headers={"Range": "bytes=0-4"})
    assert response.headers["content-length"] == str(len(COVER))
    assert service.route.asked[0].ranges is None
    assert service.route.outcomes == []
