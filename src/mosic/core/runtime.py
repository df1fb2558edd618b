"""Everything a use case needs, in one value that is passed in."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.audio.isolation import ProbePool, TaskPool
from mosic.background import Background
from mosic.blobs.base import BlobStore
from mosic.core.facts import FactsCache
from mosic.core.plays import PlayCounter
from mosic.core.top import TopClips
from mosic.core.uploads.watchdog import WriterWatchdog
from mosic.core.works.queue import WorkQueue
from mosic.db.clock import DatabaseClock
from mosic.db.engine import begin, statements
from mosic.db.state import DatabaseState
from mosic.keys.failures import Failures
from mosic.keys.ring import KeyRing
from mosic.metrics import Metrics
from mosic.remote import Remote
from mosic.settings import Settings
from mosic.staging import UploadArea
from mosic.wire.signing import UrlSigner


@dataclass(frozen=True, slots=True)
class Runtime:
    """Built and closed by `mosic.boot`; nothing in it is replaced while the service runs."""

    settings: Settings
    background: Background
    engine: AsyncEngine
    direct: AsyncEngine
    """For what needs a session of its own; the statements of this one may take as long as they like."""

    database: DatabaseState
    clock: DatabaseClock
    blobs: BlobStore
    staging: UploadArea
    probes: ProbePool
    sounds: TaskPool | None
    """Hears what clips sound like; None where the extra `sound` is not installed."""

    facts: FactsCache
    plays: PlayCounter
    top: TopClips
    watchdog: WriterWatchdog
    works: WorkQueue
    remote: Remote
    metrics: Metrics
    keys: KeyRing
    key_failures: Failures
    signer: UrlSigner | None
    """Of addresses that need no key; None while reads are public."""

    stopping: asyncio.Event
    """Set once the service was told to stop, while it may still answer."""

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction as a visible block; raises `Unavailable` when the database cannot do it for now."""
        return begin(self.engine, self.database)

    def statements(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection on which each statement is a transaction by itself; raises like `begin`."""
        return statements(self.engine, self.database)
