"""`mosic demo`: add six clips, and print the URLs at which they play."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from uuid import UUID

import typer

from mosic.boot import open_runtime, signer_of
from mosic.cli.greeting import service_url
from mosic.cli.health import hosts_to_ask
from mosic.cli.setup import set_up
from mosic.core.ingest import Hints, ingest
from mosic.demo.synth import DEMO_CLIPS, render
from mosic.metrics import Metrics
from mosic.settings import Settings
from mosic.staging import Incoming
from mosic.wire.signing import UrlSigner

_PATIENCE_SECONDS = 10


async def demo() -> None:
    """Ingested like uploads: a second run finds the same bytes and adds nothing."""
    settings = set_up()
    clips: list[tuple[UUID, str]] = []
    async with open_runtime(settings, Metrics(), existing=True) as rt:
        for one in DEMO_CLIPS:
            async with rt.staging.create(Incoming(limit=settings.max_upload_bytes)) as writer:
                await writer.write(render(one))
                staged = await writer.finish()
                clip, created = await ingest(rt, staged, Hints(file_name=one.file_name))
            clips.append((clip.id, clip.title))
            typer.echo(f"{'added  ' if created else 'present'}  {clip.id}  {clip.title}")
    typer.echo("\n" + "\n".join(await asyncio.to_thread(lambda: list(where_to_listen(settings, clips)))))


def where_to_listen(settings: Settings, clips: Sequence[tuple[UUID, str]]) -> Iterator[str]:
    """A sentence, and a line for each clip that begins with its URL, which terminals make a link of."""
    signer = _signer(settings)
    paths = [_path(clip_id, signer) for clip_id, _ in clips]
    closed = settings.require_key_for_reads
    how = (
        ""
        if not closed
        else ", with the API key"
        if signer is None
        else " (signed URLs, valid for some hours)"
    )
    base = service_url(settings, settings.app_port)
    if settings.app_port == 0 and settings.public_url is None:
        base = ""
        yield f"Listen{how}, at these paths below the URL in the service's log:"
    elif settings.app_port == 0:
        yield f"Listen{how}:"
    elif (ours := _is_there(settings, paths[0])) is None:
        yield "No service is running yet. Start it with `mosic serve` (in a checkout: `make run`)."
        yield f"Then listen{how}:"
    elif ours or (closed and signer is None):
        yield f"Listen{how}:"
    else:
        yield f"The program at port {settings.app_port} is not the service that has these clips."
        yield f"At the port of that service (`--port`, MOSIC_APP_PORT), listen{how}:"
    for (_, title), path in zip(clips, paths, strict=True):
        yield f"{base}{path}  {title}"


def _signer(settings: Settings) -> UrlSigner | None:
    """None while the service has not made its secret, which it must do under its own account."""
    if settings.url_secret is None and not settings.made_secret_file.exists():
        return None
    return signer_of(settings)


def _path(clip_id: UUID, signer: UrlSigner | None) -> str:
    query = f"?{signer.query('stream', clip_id, signer.expiry(time.time()))}" if signer else ""
    return f"/play/{clip_id}/stream{query}"


def _is_there(settings: Settings, path: str) -> bool | None:
    """Whether the service of this machine has the path; None when no service responds."""
    found = None
    for host in hosts_to_ask(settings.host):
        # Directly, without the proxies of the environment or in front of the service.
        connection = HTTPConnection(host, settings.app_port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("HEAD", path, headers={"Host": "localhost"})
            found = connection.getresponse().status == 200
        except (OSError, HTTPException):
            continue
        finally:
            connection.close()
        if found:
            break
    return found
