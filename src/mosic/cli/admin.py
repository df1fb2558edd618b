"""Commands that work on the catalogue without a running service."""

from __future__ import annotations

import typer

from mosic.audio.synth import DEMO_CLIPS, render
from mosic.boot import open_database, open_runtime
from mosic.core.ingest import Hints, ingest
from mosic.db import migrate as migrations
from mosic.keys.made import new_key
from mosic.logs import set_up_logs
from mosic.metrics import Metrics
from mosic.settings import load_settings
from mosic.wire.apikeys import is_key_name


def new_key_line(name: str) -> str:
    """`name:key`; the key is kept nowhere. Raises `typer.BadParameter`."""
    if not is_key_name(name):
        raise typer.BadParameter("A name is up to 64 letters, digits, '.', '_' and '-', such as phone-2026.")
    return f"{name}:{new_key()}"


async def migrate() -> None:
    settings = load_settings()
    set_up_logs(settings)
    async with open_database(settings) as database:
        await migrations.migrate(database.engine)
    typer.echo("The database is at the revision that this version needs.")


async def demo() -> None:
    """Through the same door as an upload: a second run finds the same bytes and adds nothing."""
    settings = load_settings()
    set_up_logs(settings)
    async with open_runtime(settings, Metrics()) as rt:
        for one in DEMO_CLIPS:
            async with rt.staging.receive(limit=settings.max_upload_bytes) as writer:
                await writer.write(render(one))
                staged = await writer.finish()
                clip, created = await ingest(rt, staged, Hints(file_name=one.file_name))
            typer.echo(f"{'added  ' if created else 'present'}  {clip.id}  {clip.title}")
