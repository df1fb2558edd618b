"""Staged file → clip: the one door by which audio enters the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog

from mosic.audio.info import AudioInfo
from mosic.audio.types import without_ending
from mosic.core.bytes import put_back
from mosic.core.changing import keep_one, withdraw
from mosic.core.ownids import check_own_id
from mosic.core.runtime import Runtime
from mosic.core.trash import restore_clip
from mosic.db import adding
from mosic.db import carried as carried_rows
from mosic.db.blobs import BlobSwept
from mosic.db.clips import Clip, NewClip, OwnIdTaken
from mosic.errors import ClipNotFound, Unavailable
from mosic.staging import StagedFile
from mosic.wire.owndata import same_data
from mosic.words import WORDS, Words

T = TypeVar("T")

_log = structlog.get_logger("mosic.ingest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints(Words):
    """What the sender said about the audio; it wins over the tags, and they over the file name."""

    file_name: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] | None = None

    def not_taken(self, clip: Clip) -> tuple[str, ...]:
        """The names of the fields that a clip, which was there before, has otherwise."""
        differing = [
            name
            for name in (*(word.name for word in WORDS), "external_id")
            if (said := getattr(self, name)) is not None and said != getattr(clip, name)
        ]
        if self.metadata is not None and not same_data(self.metadata, clip.metadata):
            differing.append("metadata")
        return tuple(differing)


async def ingest(rt: Runtime, staged: StagedFile, hints: Hints, sender: str = "") -> tuple[Clip, bool]:
    """Make a clip of the staged file; the second value says whether it is new.

    Bytes that are in the catalogue already give the clip that has them, also out of the trash, and are put
    back where the store has lost them. The bytes are published before the row is committed, so that a row
    never lacks its bytes; what a crash leaves in between is an orphan blob, which the sweep collects. Raises
    `UnsupportedMedia`, `UnreadableMedia`, `InsufficientStorage`, `Unavailable`, `BlobDamaged`,
    `ExternalIdTaken` when a clip with other bytes has the key; the staged
    file is then still the caller's to remove. `sender` says whose file it is, where files wait for their
    turn to be probed.
    """
    sha256 = bytes.fromhex(staged.sha256)
    async with rt.statements() as driver:
        existing = await adding.find(driver, sha256)
    if existing is not None and (found := await _from_trash(rt, existing)) is not None:
        await to_the_end(put_back(rt, found, staged))
        return found, False
    await check_own_id(rt, hints.external_id, sha256=sha256)
    info = await rt.probes.probe(staged.path, sender)
    new = _new_clip(rt.clock.uuid7(), staged, info, hints)
    carried = carried_rows.to_json(info.chapters, info.lyrics)
    return await to_the_end(_publish(rt, staged, new, carried))


async def to_the_end(publishing: Coroutine[Any, Any, T]) -> T:
    """Once publishing has begun it ends, and the staged file must not be taken away meanwhile."""
    task = asyncio.ensure_future(publishing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


async def _publish(
    rt: Runtime, staged: StagedFile, new: NewClip, carried: tuple[Any, Any]
) -> tuple[Clip, bool]:
    blob_key = new.id.hex
    try:
        await rt.blobs.put(blob_key, staged.path)
        clip, created = await _insert(rt, new, bytes.fromhex(staged.sha256), carried)
        return await keep_one(rt, clip, blob_key), created
    except Exception as error:
        await withdraw(rt, blob_key)
        if isinstance(error, BlobSwept):
            raise Unavailable(
                "No data arrived for so long that the uploaded bytes were removed. Upload the file again."
            ) from None
        raise


async def _from_trash(rt: Runtime, clip: Clip) -> Clip | None:
    """The clip as it is in the catalogue, brought back if need be; None when it was removed meanwhile."""
    if clip.deleted_at is None:
        return clip
    try:
        return await restore_clip(rt, clip.id)
    except ClipNotFound:
        return None


async def _insert(rt: Runtime, new: NewClip, sha256: bytes, carried: tuple[Any, Any]) -> tuple[Clip, bool]:
    while True:
        try:
            async with rt.statements() as driver:
                clip = await adding.insert(driver, new, rt.works.kinds, carried)
                if clip is not None:
                    rt.works.made()
                    return clip, True
                clip = await adding.find(driver, sha256)
        except OwnIdTaken:
            assert new.external_id is not None
            await check_own_id(rt, new.external_id, sha256=sha256)
            continue
        if clip is not None and (found := await _from_trash(rt, clip)) is not None:
            return found, False
        # The clip that had these bytes first was deleted between the two statements: try again.


def _new_clip(clip_id: UUID, staged: StagedFile, info: AudioInfo, hints: Hints) -> NewClip:
    """The sender's words win over the tags, the tags over the file name."""
    stem = without_ending(hints.file_name).strip() if hints.file_name else ""
    words = {word.name: getattr(hints, word.name) or getattr(info, word.name) for word in WORDS}
    words["title"] = words["title"] or stem or "Untitled"
    return NewClip(
        id=clip_id,
        **words,
        duration=info.duration,
        tags=info.tags,
        file_name=hints.file_name,
        external_id=hints.external_id,
        metadata=hints.metadata or {},
        blob_key=clip_id.hex,
        media_type=info.media_type,
        codec=info.codec,
        bitrate=info.bitrate,
        sample_rate=info.sample_rate,
        channels=info.channels,
        size=staged.size,
        sha256=bytes.fromhex(staged.sha256),
        has_chapters=bool(info.chapters),
        has_lyrics=info.lyrics is not None,
    )
