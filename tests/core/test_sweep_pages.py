"""However many uploads there are, a sweep has few of their rows in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from mosic.core.catalog import list_clips
from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.core.uploads import leftovers
from mosic.core.uploads.append import append
from mosic.core.uploads.leftovers import finish_whole, remove_expired
from mosic.core.uploads.unfinished import create
from mosic.wire.tus import Append, Creation, Metadata
from tests.support.sounds import wav


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def begin(rt: Runtime, length: int) -> UUID:
    return (await create(rt, Creation(length, Metadata("", {}), False, None, None), Hints(), body())).id


@pytest.mark.parametrize("page", [1, 3, 4, 100])
async def test_no_upload_is_missed(rt: Runtime, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(leftovers, "ROWS_AT_ONCE", page)
    staging = rt.settings.media_root / ".staging"
    contents = [wav(seed=seed) for seed in range(8)]
    for content in contents:
        (staging / f"{await begin(rt, len(content))}.upload").write_bytes(content)
    expired = [await begin(rt, 100) for _ in range(8)]
    going_on = [await begin(rt, 100) for _ in range(8)]
    for upload_id in (*expired, *going_on):
        await append(rt, upload_id, Append(0, None, None, None), body(b"half"))
    for name in (*(uuid4() for _ in range(8)), "no-uuid"):
        (staging / f"{name}.upload").write_bytes(b"left")
    async with rt.begin() as connection:
        await connection.execute(
            sa.text("UPDATE uploads SET expires_at = now() WHERE id = ANY(:ids)"), {"ids": expired}
        )
    assert await finish_whole(rt) == len(contents)
    assert await remove_expired(rt, grace_seconds=0) == len(expired)
    assert {path.stem for path in staging.iterdir()} == {str(upload_id) for upload_id in going_on}
    assert (await list_clips(rt, limit=1)).total == len(contents)
