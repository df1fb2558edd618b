"""A clip that is deleted while somebody wants it."""

from __future__ import annotations

import asyncio

import pytest

from mosic.core.catalog import remove_clip
from mosic.core.runtime import Runtime
from mosic.core.stream import open_stream
from mosic.errors import BlobMissing, ClipNotFound
from mosic.wire.retrieval import Retrieval
from tests.support.sounds import wav
from tests.support.stores import paused, upload


async def test_a_clip_deleted_while_its_stream_is_opened_is_not_found(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    slow, blobs = paused(rt, "open")
    opening = asyncio.create_task(open_stream(slow, clip.id, Retrieval("GET")))
    await blobs.reached.wait()
    await remove_clip(rt, clip.id)
    blobs.go_on.set()
    with pytest.raises(ClipNotFound):
        await opening


async def test_a_clip_without_its_bytes_is_still_told_to_be_the_operators_trouble(rt: Runtime) -> None:
    clip = await upload(rt, wav())
    await rt.blobs.delete(clip.id.hex)
    with pytest.raises(BlobMissing):
        await open_stream(rt, clip.id, Retrieval("GET"))
