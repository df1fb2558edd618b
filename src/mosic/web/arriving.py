"""The chunks of a request's body as they arrive, with a limit for slow clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from mosic.errors import ClientDisconnected, MalformedRequest, UnsupportedContentEncoding, UploadStalled
from mosic.settings import Settings
from mosic.staging import Chunk
from mosic.wire.fields import fields_by_name, parse_length


def declared_size(request: Request) -> int | None:
    """The Content-Length, None for a body of unknown length. Raises `MalformedRequest`."""
    text = request.headers.get("content-length")
    if text is None:
        return None
    try:
        return parse_length(text)
    except ValueError:
        raise MalformedRequest("Content-Length is not a number.") from None


def waits_for_continue(request: Request) -> bool:
    """Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1)."""
    return request.headers.get("expect", "").lower() == "100-continue"


def refuse_encoded(request: Request) -> None:
    """Raises `UnsupportedContentEncoding` for content with a coding: its coded bytes would be stored as if
    they were the content (RFC 9110 §8.4)."""
    codings = fields_by_name(request.headers.raw).get("content-encoding", "").lower().split(",")
    if any(coding.strip() not in ("", "identity") for coding in codings):
        raise UnsupportedContentEncoding


async def arriving_chunks(request: Request, settings: Settings) -> AsyncIterator[Chunk]:
    """The body's chunks, none of them empty.

    Raises `UnsupportedContentEncoding` before the first one, `ClientDisconnected` when the client
    disconnects, and `UploadStalled` when it is too slow: in `upload_idle_seconds` of waiting, fewer bytes
    arrived than `upload_min_rate` requires. Only time spent waiting counts: a client that is held up by the
    disk of this service is not slow.
    """
    refuse_encoded(request)
    window, least = settings.upload_idle_seconds, settings.upload_min_rate * settings.upload_idle_seconds
    waited, arrived = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(window - waited):
                message = await request.receive()
        except TimeoutError:
            message = None
        waited += time.monotonic() - began
        if message is not None:
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            if chunk := message.get("body", b""):
                arrived += len(chunk)
                yield chunk
            if not message.get("more_body", False):
                return
        if waited >= window or message is None:
            if arrived < max(least, 1):
                raise UploadStalled(f"Only {arrived} bytes arrived in {window:g} seconds.")
            waited, arrived = 0.0, 0
