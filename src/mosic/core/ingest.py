"""Staged file → clip: the one door by which audio enters the catalogue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import PurePath
from uuid import UUID

import structlog
import uuid_utils.compat

from mosic.audio.info import AudioInfo
from mosic.core.runtime import Runtime
from mosic.db import blob_keys, clips
from mosic.db.clips import BlobSwept, Clip, NewClip
from mosic.errors import Unavailable
from mosic.staging import StagedFile

_log = structlog.get_logger("mosic.ingest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the sender said about the audio; it wins over the tags, and they over the file name."""

    file_name: str | None = None
    title: str | None = None
    description: str | None = None
    artist: str | None = None
    album: str | None = None
    album_artist: str | None = None
    genre: str | None = None
    date: str | None = None
    track_number: int | None = None
    disc_number: int | None = None


async def ingest(rt: Runtime, staged: StagedFile, hints: Hints) -> tuple[Clip, bool]:
    """Make a clip of the staged file; the second value says whether it is new.

    Bytes that are in the catalogue already give the clip that has them. The bytes are published before the
    row is committed, so that a row never lacks its bytes; what a crash leaves in between is an orphan blob,
    which the sweep collects. Raises `UnsupportedMedia`, `UnreadableMedia`, `InsufficientStorage`,
    `Unavailable`; the staged file is then still the caller's to remove.
    """
    sha256 = bytes.fromhex(staged.sha256)
    async with rt.statements() as driver:
        existing = await clips.find(driver, sha256)
    if existing is not None:
        return existing, False
    info = await rt.probes.probe(staged.path)
    new = _new_clip(uuid_utils.compat.uuid7(), staged, info, hints)
    # Once publishing has begun it goes on to its end, and the staged file must not be taken away meanwhile.
    publishing = asyncio.ensure_future(_publish(rt, staged, new))
    try:
        return await asyncio.shield(publishing)
    except asyncio.CancelledError:
        await asyncio.wait((publishing,))
        raise


async def _publish(rt: Runtime, staged: StagedFile, new: NewClip) -> tuple[Clip, bool]:
    blob_key = new.id.hex
    try:
        await rt.blobs.put(blob_key, staged.path)
        clip, created = await _insert(rt, new, bytes.fromhex(staged.sha256))
    except Exception:
        await _withdraw(rt, blob_key)
        raise
    if not created:
        await rt.blobs.delete(blob_key)
    return clip, created


async def _withdraw(rt: Runtime, blob_key: str) -> None:
    """Remove what a failed publication may have left, unless the row exists or may yet come to exist: the
    connection may have broken while the commit was on its way."""
    try:
        async with rt.begin() as connection:
            doomed = await blob_keys.doom(connection, [blob_key])
        if doomed:
            await rt.blobs.delete(blob_key)
    except (Unavailable, OSError) as error:
        _log.warning("blob left to the sweep", blob_key=blob_key, error=str(error))


async def _insert(rt: Runtime, new: NewClip, sha256: bytes) -> tuple[Clip, bool]:
    async with rt.statements() as driver:
        while True:
            try:
                clip = await clips.insert(driver, new)
            except BlobSwept:
                raise Unavailable(
                    "This upload stood still for so long that its bytes were swept; repeat it."
                ) from None
            if clip is not None:
                return clip, True
            clip = await clips.find(driver, sha256)
            if clip is not None:
                return clip, False
            # Whoever had these bytes first was deleted between the two statements: try again.


def _new_clip(clip_id: UUID, staged: StagedFile, info: AudioInfo, hints: Hints) -> NewClip:
    """The sender's words win over the tags, the tags over the file name."""
    stem = PurePath(hints.file_name).stem.strip() if hints.file_name else ""
    return NewClip(
        id=clip_id,
        title=hints.title or info.title or stem or "Untitled",
        description=hints.description,
        artist=hints.artist or info.artist,
        album=hints.album or info.album,
        album_artist=hints.album_artist or info.album_artist,
        genre=hints.genre or info.genre,
        date=hints.date or info.date,
        track_number=hints.track_number or info.track_number,
        disc_number=hints.disc_number or info.disc_number,
        duration=info.duration,
        tags=info.tags,
        file_name=hints.file_name,
        blob_key=clip_id.hex,
        media_type=info.media_type,
        codec=info.codec,
        bitrate=info.bitrate,
        sample_rate=info.sample_rate,
        channels=info.channels,
        size=staged.size,
        sha256=bytes.fromhex(staged.sha256),
    )
