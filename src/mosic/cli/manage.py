"""`mosic list`, `show`, `edit` and `rm`: the clips of a service, for people and for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

import typer

from mosic.cli.calling import DONE, SOME_FAILED, say
from mosic.cli.table import Table, as_json, details, moment
from mosic.client.clips import Clip, Clips
from mosic.client.failures import Failed, NotFound, ServiceFailed


async def list_clips(clips: Clips, query: Mapping[str, str], *, limit: int | None, json: bool) -> int:
    """What `query` asks for, page after page, each printed as it comes."""
    table = Table()
    head = None if json else table.head()
    async for page in clips.pages(query, limit=limit):
        lines = (
            [as_json(clip) for clip in page] if json else [row for clip in page for row in table.rows(clip)]
        )
        if head is not None and lines:
            lines.insert(0, head)
            head = None
        if lines:
            typer.echo("\n".join(lines))
    return DONE


async def top(clips: Clips, *, days: int, limit: int, json: bool) -> int:
    table = Table()
    for one in await clips.top(days=days, limit=limit):
        if json:
            typer.echo(as_json(one))
        else:
            first, *more = table.rows(one["clip"])
            typer.echo("\n".join([f"{one['plays']:>9}  {first}", *(f"{'':11}{line}" for line in more)]))
    return DONE


async def show(clips: Clips, ids: Sequence[UUID], *, json: bool) -> int:
    shown = 0

    async def one(clip_id: UUID) -> None:
        nonlocal shown
        clip = await clips.get(clip_id)
        if shown and not json:
            typer.echo("")
        print_clip(clip, json=json)
        shown += 1

    return await _each(ids, one)


async def edit(clips: Clips, clip_id: UUID, patch: Mapping[str, Any], *, json: bool) -> int:
    print_clip(await clips.edit(clip_id, patch), json=json)
    return DONE


async def remove(clips: Clips, ids: Sequence[UUID], *, json: bool) -> int:
    trashed = False

    async def one(clip_id: UUID) -> None:
        nonlocal trashed
        until = await clips.remove(clip_id)
        trashed |= until is not None
        if json:
            stamp = f"{until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if until else None
            typer.echo(as_json({"id": str(clip_id), "restorable_until": stamp}))
        else:
            fate = f"in the trash until {moment(until.isoformat())}" if until else "removed for good"
            typer.echo(f"{clip_id}  {fate}")

    status = await _each(ids, one)
    if trashed and not json:
        say("`mosic rm --undo ID` restores a clip from the trash")
    return status


async def restore(clips: Clips, ids: Sequence[UUID], *, json: bool) -> int:
    async def one(clip_id: UUID) -> None:
        clip = await clips.restore(clip_id)
        typer.echo(as_json(clip) if json else f"{clip_id}  restored")

    return await _each(ids, one)


async def _each(ids: Sequence[UUID], act: Callable[[UUID], Awaitable[None]]) -> int:
    """Act on every clip: a failure is shown and does not stop the others. Returns the exit status. Raises
    `ServiceFailed`, which concerns all of them."""
    failed = False
    for clip_id in ids:
        try:
            await act(clip_id)
        except ServiceFailed:
            raise
        except (Failed, NotFound) as error:
            say(f"{clip_id}: {error}")
            failed = True
    return SOME_FAILED if failed else DONE


def print_clip(clip: Clip, *, json: bool) -> None:
    typer.echo(as_json(clip) if json else "\n".join(details(clip)))
