"""Builds everything a service needs, checks it, and closes it in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from mosic.audio.isolation import ProbePool
from mosic.background import Background, end
from mosic.blobs.base import BlobStore
from mosic.blobs.open import open_blobs
from mosic.core import identity
from mosic.core.facts import FactsCache
from mosic.core.health import written_folders
from mosic.core.indexing import index_all
from mosic.core.places import check_file_system, make_folder, store_folders, store_place
from mosic.core.plays import PlayCounter
from mosic.core.room import STAGING, free_without_database, is_short, keeping_of, note_media_root
from mosic.core.runtime import Runtime
from mosic.core.sweep import sweeping
from mosic.core.top import TopClips
from mosic.core.uploads.watchdog import WriterWatchdog
from mosic.core.watch import watching
from mosic.core.works.kinds import Learns
from mosic.core.works.known import ON_REQUEST, known_works
from mosic.core.works.queue import WorkQueue
from mosic.core.works.running import working
from mosic.core.works.sound import sound_pool
from mosic.db.changes import Changes
from mosic.db.connecting import shown
from mosic.db.engine import begin as begin_on
from mosic.db.engine import watch_pool
from mosic.db.migrate import migrate, revision
from mosic.db.plays import PlayWriter
from mosic.db.reach import Database, reach
from mosic.db.state import DatabaseState
from mosic.errors import StartupError
from mosic.keys.failures import Failures
from mosic.keys.made import read_or_make
from mosic.keys.open import open_keys
from mosic.keys.ring import KeyRing
from mosic.metrics import Metrics
from mosic.postgres import has_cluster, open_embedded
from mosic.remote import Remote
from mosic.settings import Settings
from mosic.staging import LocalUploadArea, UploadArea
from mosic.wire.signing import UrlSigner

_log = structlog.get_logger("mosic.boot")


@asynccontextmanager
async def open_database(settings: Settings, background: Background) -> AsyncIterator[Database]:
    """The external server that the settings name, or the embedded one, started when it does not run, and
    restarted whenever it ends.

    Raises `StartupError` when it cannot be reached.
    """
    async with AsyncExitStack() as stack:
        url = settings.external_database
        if url is None:
            await asyncio.to_thread(make_folder, settings.data_dir, "MOSIC_DATA_DIR")
            embedded = await open_embedded(settings.data_dir, settings.postgres_bin)
            stack.push_async_callback(embedded.close)
            stack.push_async_callback(end, background.start("postgres", embedded.keep_running))
            url = embedded.url
        direct = settings.direct_database
        yield await stack.enter_async_context(reach(url, direct, echo=settings.echo_sql))


@asynccontextmanager
async def _database_with_room(settings: Settings, background: Background) -> AsyncIterator[Database]:
    """`open_database`, also when uploads have filled the disk of the database."""
    if await asyncio.to_thread(is_short, settings):
        await asyncio.to_thread(free_without_database, settings, unfinished=False)
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(open_database(settings, background))
        except StartupError:
            if not await asyncio.to_thread(is_short, settings):
                raise
            if not await asyncio.to_thread(free_without_database, settings, unfinished=True):
                raise
            database = await stack.enter_async_context(open_database(settings, background))
        yield database


@dataclass(frozen=True, slots=True)
class Storage:
    """The data of a service, without the service: for commands that run beside it or before its first
    start."""

    engine: AsyncEngine
    blobs: BlobStore
    staging: UploadArea


@asynccontextmanager
async def open_storage(settings: Settings, *, existing: bool = False) -> AsyncIterator[Storage]:
    """Made when missing, unless it must be `existing`; not migrated. Raises `StartupError`."""
    async with AsyncExitStack() as stack:
        if existing:
            await asyncio.to_thread(_find_places, settings)
        blobs, staging = await _open_folders(settings, stack)
        database = await stack.enter_async_context(open_database(settings, Background()))
        if existing and await revision(database.engine) is None:
            raise StartupError(_without_tables(database.url))
        yield Storage(database.engine, blobs, staging)


def _find_places(settings: Settings) -> None:
    """Raises `StartupError` when there is no service, before anything is made."""
    if settings.external_database is None and not has_cluster(settings.data_dir):
        raise StartupError(
            f"There is no service here: MOSIC_DATA_DIR ({settings.data_dir.absolute()}) has no database. Is "
            "this the folder that `mosic serve` is started in?"
        )
    for setting, folder in store_folders(settings).items():
        if not folder.is_dir():
            raise StartupError(
                f"There is no service here: {setting} ({folder.absolute()}) is not there. Is its disk "
                "mounted, and is this the folder that `mosic serve` is started in?"
            )


def _without_tables(url: URL) -> str:
    return f"There is no service here: the database {shown(url)} has no tables of Mosic yet."


async def _open_folders(settings: Settings, stack: AsyncExitStack) -> tuple[BlobStore, UploadArea]:
    for setting, folder in store_folders(settings).items():
        await asyncio.to_thread(make_folder, folder, setting, settings.file_mode)
        await asyncio.to_thread(check_file_system, folder, setting)
    media = await asyncio.to_thread(keeping_of, settings, settings.media_root)
    store = await asyncio.to_thread(keeping_of, settings, list(store_folders(settings).values())[-1])
    blobs = await stack.enter_async_context(open_blobs(settings.store, store))
    staging = await asyncio.to_thread(LocalUploadArea, settings.media_root / STAGING, media)
    stack.push_async_callback(staging.close)
    return blobs, staging


@asynccontextmanager
async def open_runtime(
    settings: Settings,
    metrics: Metrics,
    *,
    sweeps: bool = False,
    existing: bool = False,
    makes_room: bool = False,
    learns: Sequence[Learns] | None = None,
) -> AsyncIterator[Runtime]:
    """Everything, ready for use: the database is migrated, folders exist and can be written, the store is the
    database's own. With `sweeps`, as for a service, leftovers are swept, the key file is watched, and metrics
    are refreshed. With `existing`, as for commands, nothing is made if there is no service, and no key is
    read. With `sweeps` or `makes_room`, uploads are removed if they leave the database no space to start.
    `learns` are the kinds of works, by default all that are known; with `sweeps` they are done here.

    Raises `StartupError` with a sentence for the operator. Everything is closed in reverse order: plays
    are written before the database is closed.
    """
    learns = known_works() if learns is None else learns
    async with AsyncExitStack() as stack:
        background = Background(metrics.background.failed)
        if existing:
            await asyncio.to_thread(_find_places, settings)
            keys, signer = KeyRing(), None
        else:
            watch = background if sweeps else None
            keys = await stack.enter_async_context(open_keys(settings, metrics.keys, watch=watch))
            signer = await asyncio.to_thread(signer_of, settings)
        blobs, staging = await _open_folders(settings, stack)
        opening = _database_with_room if sweeps or makes_room else open_database
        database = await stack.enter_async_context(opening(settings, background))
        new = await revision(database.engine) is None
        if new and existing:
            raise StartupError(_without_tables(database.url))
        await migrate(database.engine)
        await identity.settle(database.engine, blobs, store_place(settings))
        await asyncio.to_thread(note_media_root, settings)
        if new:
            # If a disk is not mounted or the folder is wrong, this line is the first sign.
            _log.info("a new, empty service", media=settings.media_root, data=settings.data_dir)
        # Nothing needs it for a while, and some servers allow few connections.
        await database.engine.dispose()
        limit = settings.db_statement_seconds
        engine = await stack.enter_async_context(
            database.for_requests(
                pool_size=settings.db_pool_size, statement_seconds=limit, echo=settings.echo_sql
            )
        )
        state = DatabaseState(metrics.database)
        metrics.disks.watch(written_folders(settings))
        metrics.database.pool_opened(settings.db_pool_size)
        watch_pool(engine, metrics.database.connections_in_use)
        begin = partial(begin_on, engine, state)

        probes = ProbePool(
            settings.probe_workers,
            settings.probe_timeout_seconds,
            settings.probe_memory_mb,
            background=background,
            on_outcome=metrics.probes.ended,
        )
        await probes.start()
        if probes.missing:
            _log.warning(
                "this system cannot fully sandbox the processes that read files", missing=probes.missing
            )
        stack.push_async_callback(probes.close)

        sounds = await stack.enter_async_context(sound_pool(settings, background))

        remote = Remote(
            allow_private=settings.remote_allow_private, timeout_seconds=settings.remote_timeout_seconds
        )
        await stack.enter_async_context(remote)

        # Two connections beside the pool, so that neither ever waits for its turn there.
        beside = await stack.enter_async_context(database.beside(pool_size=2, statement_seconds=limit))
        writer = PlayWriter(beside, state)
        stack.push_async_callback(writer.close)
        plays = PlayCounter(
            writer.add,
            metrics.plays,
            wait_seconds=settings.play_wait_seconds,
            most_waiting=settings.plays_waiting_max,
            background=background,
        )
        plays.start()
        stack.push_async_callback(plays.close)

        facts = FactsCache(begin, wait_seconds=settings.play_wait_seconds)
        queue = WorkQueue(kind for group in learns for kind in group.kinds if kind not in ON_REQUEST)
        changes = Changes(beside, facts, background, on_works=queue.call)
        stack.push_async_callback(changes.close)
        await changes.start()
        watchdog = WriterWatchdog(
            begin,
            staging,
            expiry_seconds=settings.upload_expiry_seconds,
            timings=settings.timings,
            background=background,
        )
        watchdog.start()
        stack.push_async_callback(watchdog.close)

        runtime = Runtime(
            settings=settings,
            background=background,
            engine=engine,
            direct=database.engine,
            database=state,
            clock=database.clock,
            blobs=blobs,
            staging=staging,
            probes=probes,
            sounds=sounds,
            facts=facts,
            plays=plays,
            top=TopClips(begin),
            watchdog=watchdog,
            works=queue,
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
            stack.push_async_callback(end, background.start("indexing", partial(index_all, runtime)))
            at_once = settings.works_at_once
            await stack.enter_async_context(working(runtime, learns, at_once=at_once, fills=True))
        yield runtime


def signer_of(settings: Settings) -> UrlSigner | None:
    """None while reads are public, because URLs need no signature then.

    A missing secret is made. Raises `StartupError`.
    """
    if not settings.require_key_for_reads:
        return None
    given = settings.url_secret
    secret = given.get_secret_value() if given else read_or_make(settings.made_secret_file)
    return UrlSigner(secret.encode(), settings.url_ttl_seconds)
