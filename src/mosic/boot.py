"""Builds everything a service needs, checks it, and closes it in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.audio.isolation import ProbePool
from mosic.blobs.base import BlobStore
from mosic.blobs.open import open_blobs
from mosic.core.facts import FactsCache
from mosic.core.fence import Fence
from mosic.core.health import written_folders
from mosic.core.plays import PlayCounter
from mosic.core.runtime import Runtime
from mosic.core.sweep import sweeping
from mosic.core.watch import watching
from mosic.db.changes import Changes
from mosic.db.engine import begin as begin_on
from mosic.db.engine import create_engine, is_away, watch_pool
from mosic.db.migrate import migrate
from mosic.db.plays import PlayWriter
from mosic.errors import StartupError
from mosic.keys.failures import Failures
from mosic.keys.made import kept
from mosic.keys.open import open_keys
from mosic.metrics import Metrics
from mosic.postgres import open_embedded
from mosic.remote import Remote
from mosic.settings import Settings
from mosic.staging import Staging
from mosic.wire.signing import UrlSigner

_log = structlog.get_logger("mosic.boot")


@dataclass(frozen=True, slots=True)
class Database:
    """An open pool, and where it leads."""

    engine: AsyncEngine
    url: URL


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The external server that the settings name, or the embedded one, started when it does not run yet.

    Raises `StartupError` when it cannot be reached.
    """
    async with AsyncExitStack() as stack:
        url = settings.external_database
        if url is None:
            await asyncio.to_thread(make_folder, settings.data_dir, "MOSIC_DATA_DIR")
            embedded = await open_embedded(settings.data_dir, settings.postgres_bin)
            stack.push_async_callback(embedded.close)
            await stack.enter_async_context(_cancelled_at_the_end(embedded.keep_running()))
            url = embedded.url
        engine = create_engine(url, pool_size=settings.db_pool_size, echo=settings.echo_sql)
        stack.push_async_callback(engine.dispose)
        try:
            async with engine.connect():
                pass
        except Exception as error:
            if is_away(error) or getattr(getattr(error, "orig", None), "sqlstate", "").startswith(
                ("28", "3D")
            ):
                shown = url.render_as_string(hide_password=True)
                raise StartupError(
                    f"The database {shown} cannot be used: {error.__cause__ or error}"
                ) from error
            raise
        yield Database(engine, url)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a service keeps, apart from what it does: for work beside it or before its first start."""

    engine: AsyncEngine
    blobs: BlobStore
    staging: Staging


@asynccontextmanager
async def open_holdings(settings: Settings) -> AsyncIterator[Holdings]:
    """Made when missing, but not migrated. Raises `StartupError`."""
    async with AsyncExitStack() as stack:
        blobs, staging = await _open_folders(settings, stack)
        database = await stack.enter_async_context(open_database(settings))
        yield Holdings(database.engine, blobs, staging)


async def _open_folders(settings: Settings, stack: AsyncExitStack) -> tuple[BlobStore, Staging]:
    await asyncio.to_thread(make_folder, settings.media_root, "MOSIC_MEDIA_ROOT")
    blobs = open_blobs(settings.store_url, settings.media_root)
    stack.push_async_callback(blobs.close)
    await blobs.start()
    staging = await asyncio.to_thread(Staging, settings.media_root / ".staging")
    stack.push_async_callback(staging.close)
    return blobs, staging


@asynccontextmanager
async def _cancelled_at_the_end(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def open_runtime(
    settings: Settings, metrics: Metrics, *, sweeps: bool = False
) -> AsyncIterator[Runtime]:
    """Everything, ready for use: the database is migrated, folders exist and can be written. With `sweeps`,
    as for a service, leftovers are swept now and then, the key file is followed, metrics are kept fresh.

    Raises `StartupError` with a sentence for the operator. What was opened is closed in reverse order: plays
    are written before the database goes.
    """
    async with AsyncExitStack() as stack:
        keys = await stack.enter_async_context(open_keys(settings, metrics, watch=sweeps))
        signer = await asyncio.to_thread(_signer, settings)
        blobs, staging = await _open_folders(settings, stack)
        database = await stack.enter_async_context(open_database(settings))
        await migrate(database.engine)
        metrics.watch_disks(written_folders(settings))
        metrics.pool_opened(settings.db_pool_size)
        watch_pool(database.engine, metrics.connections_in_use)
        begin = partial(begin_on, database.engine, metrics.connection_awaited)

        probes = ProbePool(
            settings.probe_workers,
            settings.probe_timeout_seconds,
            settings.probe_memory_mb,
            on_outcome=metrics.probe_ended,
        )
        await probes.start()
        stack.push_async_callback(probes.close)

        remote = Remote(
            allow_private=settings.remote_allow_private, timeout_seconds=settings.remote_timeout_seconds
        )
        await stack.enter_async_context(remote)

        # Two connections beside the pool, so that neither ever waits for its turn there.
        beside = create_engine(database.url, pool_size=2)
        stack.push_async_callback(beside.dispose)
        writer = PlayWriter(beside)
        stack.push_async_callback(writer.close)
        plays = PlayCounter(
            writer.add,
            metrics,
            wait_seconds=settings.play_wait_seconds,
            most_waiting=settings.plays_waiting_max,
        )
        plays.start()
        stack.push_async_callback(plays.close)

        facts = FactsCache(begin, blobs, wait_seconds=settings.play_wait_seconds)
        changes = Changes(beside, facts)
        stack.push_async_callback(changes.close)
        await changes.start()
        fence = Fence(begin, staging, expiry_seconds=settings.upload_expiry_seconds)
        fence.start()
        stack.push_async_callback(fence.close)

        runtime = Runtime(
            settings=settings,
            engine=database.engine,
            blobs=blobs,
            staging=staging,
            probes=probes,
            facts=facts,
            plays=plays,
            fence=fence,
            remote=remote,
            metrics=metrics,
            keys=keys,
            key_failures=Failures(),
            signer=signer,
            stopping=asyncio.Event(),
        )
        if sweeps:
            await stack.enter_async_context(sweeping(runtime))
            await stack.enter_async_context(watching(runtime))
        yield runtime


def make_folder(path: Path, setting: str) -> None:
    """Create a missing folder; raises `StartupError` naming the setting when it cannot be used."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{setting}: the folder {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartupError(f"{setting}: the folder {path} cannot be written")


def _signer(settings: Settings) -> UrlSigner | None:
    """None while reads are public, for whoever can read an address needs no signature then."""
    if not settings.require_key_for_reads:
        return None
    given = settings.url_secret
    secret = given.get_secret_value() if given else kept(settings.made_secret_file)
    return UrlSigner(secret.encode(), settings.url_ttl_seconds)
