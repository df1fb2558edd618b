"""Stream → ASGI messages."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import Receive, Send

from mosic.core.plays import PlayCounter
from mosic.core.stream import Stream
from mosic.errors import ClientDisconnected
from mosic.metrics import Metrics


async def send_stream(
    stream: Stream, receive: Receive, send: Send, metrics: Metrics, plays: PlayCounter
) -> None:
    """Send the answer and close it, whatever happens.

    Stops soon after the client has left, with `ClientDisconnected`. A failure in the middle of the body
    raises: the connection is then cut, which is the only way left to say that the answer is not whole.
    """
    try:
        await send({"type": "http.response.start", "status": stream.status, "headers": stream.headers})
        if stream.body is None:
            await send({"type": "http.response.body", "body": b""})
            return
        sent = 0
        gone = asyncio.ensure_future(_until_gone(receive))
        metrics.stream_began()
        try:
            async for chunk in stream.body.chunks():
                if gone.done():
                    raise ClientDisconnected
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sent += len(chunk)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
            metrics.stream_ended(sent)
            plays.add_bytes(stream.body.clip_id, sent)
    finally:
        await stream.close()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
