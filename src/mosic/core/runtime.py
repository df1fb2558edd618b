"""Everything a use case needs, in one value that is passed in."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mosic.audio.isolation import ProbePool
from mosic.blobs.base import BlobStore
from mosic.core.facts import FactsCache
from mosic.core.fence import Fence
from mosic.core.plays import PlayCounter
from mosic.db.engine import begin
from mosic.metrics import Metrics
from mosic.remote import Remote
from mosic.settings import Settings
from mosic.staging import Staging


@dataclass(frozen=True, slots=True)
class Runtime:
    """Built and closed by `mosic.boot`; nothing in it is replaced while the service runs."""

    settings: Settings
    engine: AsyncEngine
    blobs: BlobStore
    staging: Staging
    probes: ProbePool
    facts: FactsCache
    plays: PlayCounter
    fence: Fence
    remote: Remote
    metrics: Metrics
    stopping: asyncio.Event
    """Set once the service was told to stop, while it may still answer."""

    api_key_digests: tuple[bytes, ...]
    """SHA-256 of each key that may write; the keys themselves are not kept."""

    def begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction as a visible block; raises `Unavailable` when the database is away."""
        return begin(self.engine, self.metrics.connection_awaited)
