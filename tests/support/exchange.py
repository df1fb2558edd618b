"""One HTTP request and its answer over a bare socket: nothing between the test and the bytes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(r"HTTP/1\.1 ([1-5][0-9]{2}) [^\r\n]*")
_FIELD_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")


@dataclass(frozen=True)
class Answer:
    """`fields` by lower-case name; `body` is as long as declared."""

    status: int
    fields: dict[str, str]
    body: bytes


def head(method: str, path: str, *lines: str, closing: bool = True) -> bytes:
    """The head of a request, which asks for the connection to be closed; `lines` go out as they are."""
    connection = ("Connection: close",) if closing else ()
    text = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *connection, *lines, "", ""))
    return text.encode("latin-1")


async def exchange(port: int, request: bytes, *, timeout: float = 20) -> Answer:
    """Send the bytes, read until the other side closes, and take the answer apart by the letter of RFC 9112.

    What an answer must never be fails here: two lines for one field, a body of another length than declared.
    """
    received = await raw_exchange(port, request, timeout=timeout)
    answer, rest = first_answer(received, to_head=request.startswith(b"HEAD "))
    assert rest == b"", "more came than was declared"
    return answer


async def raw_exchange(port: int, request: bytes, *, timeout: float = 20) -> bytes:
    """Send the bytes, and read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), timeout)
    finally:
        writer.close()


def first_answer(received: bytes, *, to_head: bool) -> tuple[Answer, bytes]:
    """The answer, and what follows it."""
    raw_head, end, rest = received.partition(b"\r\n\r\n")
    assert end, f"no answer, or half a head: {received[:200]!r}"
    status_line, *lines = raw_head.decode("latin-1").split("\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    assert match, status_line
    status = int(match[1])
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD_LINE.fullmatch(line)
        assert found, line
        name = found[1].lower()
        assert name not in fields, f"{name} comes twice"
        fields[name] = found[2]
    assert "transfer-encoding" not in fields
    size = 0 if to_head or status in (204, 304) else int(fields["content-length"])
    assert len(rest) >= size, "less came than was declared"
    return Answer(status, fields, rest[:size]), rest[size:]
