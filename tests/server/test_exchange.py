"""What an exchange writes is what uvicorn's own would write, and it refuses what uvicorn refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mosic.server.exchange import Exchange

Field = tuple[bytes, bytes]


class Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.data += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def uvicorn_exchange(**options: Any) -> RequestResponseCycle:
    return RequestResponseCycle(
        **options,
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        message_event=asyncio.Event(),
    )


async def said(
    make: Callable[..., RequestResponseCycle], method: str, keep_alive: bool, messages: list[dict[str, Any]]
) -> tuple[bytes, bool, bool, bool, int, type[Exception] | None]:
    """All that can be seen from outside: the bytes, whether it was closed, whether it is complete, if the
    connection may be used again, how often the end was told, what was raised."""
    transport = Written()
    ends: list[None] = []
    cycle = make(
        scope={"type": "http", "method": method},
        transport=transport,
        flow=FlowControl(transport),
        default_headers=[(b"date", b"Sun, 29 Nov 2026 00:00:00 GMT")],
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: ends.append(None),
    )
    raised: type[Exception] | None = None
    try:
        for message in messages:
            await cycle.send(message)  # type: ignore[arg-type]
    except Exception as error:
        raised = type(error)
    if isinstance(cycle, Exchange):
        cycle.flush()
    return (transport.data, transport.closed, cycle.response_complete, cycle.keep_alive, len(ends), raised)


def start(status: int, *fields: Field) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


ordinary = st.tuples(
    st.sampled_from([b"etag", b"X-Request-ID", b"content-type", b"Vary", b"link"]),
    st.sampled_from([b'"a"', b"", b"a\tb", "é".encode("latin-1"), b"a: b", b"; , ="]),
)
strange = st.tuples(
    st.binary(max_size=3) | st.sampled_from([b"a b", b"a:", b"\r\n", b"a\n"]),
    st.binary(max_size=4) | st.sampled_from([b"a\r\nb: c", b"\n", b"\r", b"\x00", b"\x7f"]),
)
framing = st.fixed_dictionaries(
    {},
    optional={
        b"content-length": st.sampled_from([b"0", b"1", b"5", b"10"]),
        b"Transfer-Encoding": st.sampled_from([b"chunked", b"Chunked", b"gzip"]),
        b"Connection": st.sampled_from(
            [b"close", b"Close", b"keep-alive", b"a, close ,b", b"closed", b"en-close", b"keep-alive,\tclose"]
        ),
    },
).map(lambda found: list(found.items()))
bodies = st.lists(st.builds(body, st.binary(max_size=6), more=st.booleans()), max_size=4)


@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    keep_alive=st.booleans(),
    status=st.sampled_from([200, 201, 204, 206, 304, 404, 503]),
    fields=st.lists(ordinary, max_size=4),
    odd=st.lists(strange, max_size=1),
    frame=framing,
    parts=bodies,
)
@example("GET", True, 206, [], [], [(b"content-length", b"5")], [body(b"abcde")])
@example("GET", True, 200, [], [], [], [body(b"abc", more=True), body(b"", more=True), body(b"")])
@example("GET", True, 200, [], [(b"a", b"b\r\nset-cookie: c")], [], [body(b"")])
@example("GET", True, 200, [], [], [(b"content-length", b"5")], [body(b"abcdef")])
@example("HEAD", False, 200, [], [], [(b"content-length", b"5")], [body(b"abcde"), body(b"")])
async def test_as_uvicorn_does(
    method: str,
    keep_alive: bool,
    status: int,
    fields: list[Field],
    odd: list[Field],
    frame: list[Field],
    parts: list[dict[str, Any]],
) -> None:
    messages = [start(status, *fields, *odd, *frame), *parts]
    ours = await said(Exchange, method, keep_alive, messages)
    theirs = await said(uvicorn_exchange, method, keep_alive, messages)
    assert ours == theirs


@pytest.mark.parametrize(
    "messages",
    [
        [body(b"early")],
        [start(200), start(200)],
        [start(200), {"type": "http.response.trailers"}],
        [{"type": "http.response.debug"}],
        [start(200), body(b""), body(b"late")],
        [start(999)],
    ],
)
async def test_messages_out_of_order(messages: list[dict[str, Any]]) -> None:
    ours = await said(Exchange, "GET", True, messages)
    assert ours == await said(uvicorn_exchange, "GET", True, messages)
    assert ours[-1] is not None
