"""Rows of `clip_sounds`: what clips sound like. `mosic.db.clips` joins them to the clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.db import blobs as stored
from mosic.db.tables import clip_sounds, clips, works
from mosic.wire.waveform import MEDIA_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """Numbers that are not defined are None; silence is in seconds."""

    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None
    leading_silence: float
    trailing_silence: float


SOUND_COLUMNS = tuple(Sounds.__dataclass_fields__)
"""The columns that every clip shows."""


@dataclass(frozen=True, slots=True)
class NewWaveform:
    """A waveform whose bytes are in the store."""

    key: str
    sha256: bytes
    size: int


async def write(
    connection: AsyncConnection, clip_id: UUID, measured: Sounds, waveform: NewWaveform
) -> list[str]:
    """Write what a clip sounds like; the clip must be locked. Returns the keys of blobs that may be removed
    after the commit: that of `waveform` too, if the store has the same bytes already. Raises `BlobSwept`."""
    before = sa.select(clip_sounds.c.blob_key).where(clip_sounds.c.clip_id == clip_id)
    let_go = list((await connection.scalars(before)).all())
    await stored.lock(connection, let_go)
    key = await stored.add(
        connection, waveform.key, sha256=waveform.sha256, size=waveform.size, media_type=MEDIA_TYPE
    )
    values = {**asdict(measured), "blob_key": key}
    await connection.execute(
        insert(clip_sounds)
        .values(clip_id=clip_id, **values)
        .on_conflict_do_update(index_elements=[clip_sounds.c.clip_id], set_=values)
    )
    released = await stored.release(connection, [one for one in let_go if one != key])
    return released if key == waveform.key else [*released, waveform.key]


async def forget(connection: AsyncConnection, clip_id: UUID) -> None:
    """To be called when a clip gets other bytes. Its waveform's blob is for the caller to release."""
    await connection.execute(sa.delete(clip_sounds).where(clip_sounds.c.clip_id == clip_id))


@dataclass(frozen=True, slots=True)
class Found:
    """A clip that is in the catalogue, as far as waveforms go. `waveform`: the key of its blob, None when it
    has none (yet); `failed`: why it will have none."""

    is_external: bool
    waveform: str | None
    failed: str | None


async def find(connection: AsyncConnection, clip_id: UUID) -> Found | None:
    """None when there is no such clip, or it is in the trash."""
    wanted = (
        sa.select(
            clips.c.blob_key.is_(None).label("is_external"),
            clip_sounds.c.blob_key.label("waveform"),
            works.c.detail.label("failed"),
        )
        .select_from(
            clips.outerjoin(clip_sounds, clip_sounds.c.clip_id == clips.c.id).outerjoin(
                works,
                sa.and_(works.c.clip_id == clips.c.id, works.c.kind == "waveform", works.c.state == "failed"),
            )
        )
        .where(clips.c.id == clip_id, clips.c.deleted_at.is_(None))
    )
    row = (await connection.execute(wanted)).first()
    return Found(**row._mapping) if row else None
