"""`mosic work`: what is learnt of clips after their upload, seen and done again."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mosic.boot import open_runtime
from mosic.cli.display import fit_to_show
from mosic.cli.setup import set_up
from mosic.core.runtime import Runtime
from mosic.core.works import asking
from mosic.core.works.kinds import Learns
from mosic.core.works.known import known_works
from mosic.core.works.running import working
from mosic.errors import StartupError, Unavailable
from mosic.metrics import Metrics
from mosic.settings import Settings
from mosic.settings.store import MemoryStore

_LOOK_SECONDS = 0.5
_SPARING = 20.0
_SHOWN_FAILURES = 20


async def work(what: Sequence[str], *, all_clips: bool, learns: Sequence[Learns] | None = None) -> None:
    """Show how many works there are; with `what` (a clip and kinds, or one kind for `all_clips`) have them
    done again, and take part in it. Exits with 1 when some fail. `learns` as for `open_runtime`."""
    settings = _settings()
    learns = known_works() if learns is None else learns
    async with open_runtime(settings, Metrics(), existing=True, learns=learns) as rt:
        if not what and not all_clips:
            await _show_counts(rt)
            return
        clip, kinds = (None, what) if all_clips else (_clip_id(what[0]), what[1:])
        _check(kinds, [kind for group in learns for kind in group.kinds])
        if not settings.works_at_once:
            typer.echo("mosic: MOSIC_WORKS_AT_ONCE is 0: this command only waits for services", err=True)
        async with working(rt, learns, at_once=settings.works_at_once, fills=False):
            failed = False
            for kind in kinds if clip is None else ():
                failed |= await _whole_library(rt, kind)
            if clip is not None:
                failed = await _one_clip(rt, clip, kinds)
    if failed:
        raise typer.Exit(1)


def _settings() -> Settings:
    settings = set_up()
    if isinstance(settings.store, MemoryStore):
        raise StartupError("MOSIC_STORE_URL=memory: only the process of the service can use this store")
    return settings


def _clip_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise StartupError(
            f"{fit_to_show(text)} is not the id of a clip. For all clips use `mosic work --all KIND`."
        ) from None


def _check(kinds: Sequence[str], known: Collection[str]) -> None:
    if not kinds:
        raise StartupError(f"Name a kind of works. Known here: {', '.join(sorted(known)) or 'none'}.")
    for kind in kinds:
        if kind not in known:
            raise StartupError(
                f"{fit_to_show(kind)} is not a kind of works. Known here: "
                f"{', '.join(sorted(known)) or 'none'}."
            )


async def _show_counts(rt: Runtime) -> None:
    counts = (await asking.count(rt)).counts
    if not counts:
        typer.echo("There are no works.")
    for one in counts:
        oldest = f"  the oldest for {one.oldest_seconds:.0f} s" if one.state == "waiting" else ""
        typer.echo(f"{one.kind:<16}  {one.state:<8}  {one.count:>9}{oldest}")


async def _whole_library(rt: Runtime, kind: str) -> bool:
    """Whether some failed."""
    since = (await asking.count(rt)).at
    queued = await asking.left(rt, kind)
    try:
        with _bar(kind) as show:
            async for made in asking.repeat_all(rt, kind):
                queued = max(made, queued)
                show(0, queued)
            while left := await _left(rt, kind):
                queued = max(queued, left)
                show(queued - left, queued)
            show(queued, queued)
    except asyncio.CancelledError:
        typer.echo(
            "mosic: what is not done stays queued, and a running service does it; `mosic work` shows how "
            "much is left",
            err=True,
        )
        raise
    return await _tell(rt, kind, queued, since)


async def _left(rt: Runtime, kind: str) -> int:
    """To be asked for again and again: it takes little of the time of the database, which has to count."""
    began = time.monotonic()
    while True:
        try:
            return await asking.left(rt, kind)
        except Unavailable:
            pass
        finally:
            await asyncio.sleep(max(_LOOK_SECONDS, _SPARING * (time.monotonic() - began)))


async def _tell(rt: Runtime, kind: str, queued: int, since: datetime) -> bool:
    failed = await asking.failed_since(rt, kind, since, limit=_SHOWN_FAILURES + 1)
    for one in failed[:_SHOWN_FAILURES]:
        typer.echo(f"failed  {one.clip_id}  {fit_to_show(one.title)}: {one.code}: {_said(one.detail)}")
    if len(failed) > _SHOWN_FAILURES:
        typer.echo("failed  … and more: `GET /play/{id}/works` names the reason of each")
    typer.echo(f"{kind}: {queued} clips were learnt again{', some failed' if failed else ''}.")
    return bool(failed)


async def _one_clip(rt: Runtime, clip_id: UUID, kinds: Sequence[str]) -> bool:
    if not await asking.repeat(rt, clip_id, kinds):
        typer.echo("This clip is external: there is nothing to learn of it here.")
        return False
    while True:
        found = [one for one in await asking.works_of(rt, clip_id) if one.kind in kinds]
        if all(one.state in ("done", "failed") for one in found):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    for one in found:
        reason = f": {one.code}: {_said(one.detail)}" if one.code else ""
        typer.echo(f"{one.state:<6}  {one.kind}{reason}")
    return any(one.state == "failed" for one in found)


def _said(detail: str | None) -> str:
    return fit_to_show(detail or "")


@contextmanager
def _bar(kind: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, else nothing. What it gives is called with how many are done, and of how many."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(kind, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
