"""`mosic sweep` and `mosic audit`: keep catalogue and store in step, also while the service runs."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing

import typer

from mosic.boot import open_runtime
from mosic.cli.setup import set_up
from mosic.core import sweep as sweeping
from mosic.core.catalog import list_clips
from mosic.core.sweep import Finding, SweepRefused
from mosic.errors import StartupError
from mosic.metrics import Metrics
from mosic.settings import Settings
from mosic.settings.store import MemoryStore

_PROGRESS_EVERY = 20


async def sweep(*, grace_seconds: float | None, force: bool, empty_trash: bool = False) -> None:
    """Sweep once, unless a sweep is running already. Exits with 1 when the sweep is refused."""
    settings = _settings()
    grace = settings.sweep_grace_seconds if grace_seconds is None else grace_seconds
    async with open_runtime(settings, Metrics(), existing=True, makes_room=True) as rt:
        try:
            swept = await sweeping.sweep(rt, grace_seconds=grace, force=force, empty_trash=empty_trash)
        except SweepRefused as refused:
            typer.echo(f"mosic: {refused}", err=True)
            raise typer.Exit(1) from None
    if swept is None:
        typer.echo("Another sweep is running; this one did nothing.")
    else:
        typer.echo(
            f"Removed: {swept.uploads} expired uploads, {swept.staged} staged files, "
            f"{swept.blobs} orphaned blobs, {swept.trashed} clips from the trash."
        )


async def audit(*, grace_seconds: float | None, as_json: bool) -> None:
    """Report each finding as it comes, or all as one JSON object. Exits with 1 if there are any, and also
    when there was nothing to read: an audit that proves nothing must not count as passed."""
    settings = _settings()
    grace = settings.sweep_grace_seconds if grace_seconds is None else grace_seconds
    findings: list[Finding] = []
    seen = _Seen(shown=sys.stderr.isatty())
    async with (
        open_runtime(settings, Metrics(), existing=True) as rt,
        aclosing(sweeping.audit(rt, grace_seconds=grace, on_progress=seen)) as found,
    ):
        clips = (await list_clips(rt, limit=1)).clips
        async for finding in found:
            findings.append(finding)
            if not as_json:
                seen.clear()
                clip = f"  of clip {finding.clip_id}" if finding.clip_id else ""
                typer.echo(f"{finding.kind:<8}  {finding.blob_key}{clip}  {finding.detail}")
    seen.clear()
    by_kind = {
        kind: [finding for finding in findings if finding.kind == kind]
        for kind in ("missing", "corrupt", "orphaned")
    }
    if as_json:
        typer.echo(json.dumps(_report(seen, by_kind), indent=2))
    else:
        counts = ", ".join(f"{len(found)} {kind}" for kind, found in by_kind.items())
        typer.echo(f"Read {seen.clips} clips, {seen.bytes} bytes in all: {counts}.")
    if not clips:
        typer.echo("mosic: there is nothing to audit: this service has no clips", err=True)
    if findings or not clips:
        raise typer.Exit(1)


def _settings() -> Settings:
    settings = set_up()
    if isinstance(settings.store, MemoryStore):
        raise StartupError("MOSIC_STORE_URL=memory: only the process of the service can use this store")
    return settings


class _Seen:
    """The progress of the audit, on a terminal."""

    def __init__(self, *, shown: bool) -> None:
        self.clips = self.bytes = 0
        self._shown = shown

    def __call__(self, clips: int, size: int) -> None:
        self.clips, self.bytes = clips, size
        if self._shown and clips % _PROGRESS_EVERY == 0:
            typer.echo(f"\r{clips} clips, {size / 1e6:.0f} MB", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            typer.echo("\r\x1b[K", nl=False, err=True)


def _report(seen: _Seen, by_kind: dict[str, list[Finding]]) -> dict[str, object]:
    return {
        "clips": seen.clips,
        "bytes": seen.bytes,
        **{
            kind: [
                {
                    "blob_key": finding.blob_key,
                    "clip_id": str(finding.clip_id) if finding.clip_id else None,
                    "detail": finding.detail,
                }
                for finding in found
            ]
            for kind, found in by_kind.items()
        },
    }
