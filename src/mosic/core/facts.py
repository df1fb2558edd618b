"""What streaming needs to know of a clip, kept in memory: a listener's request asks the database nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from mosic.audio.types import ending_for, media_type_for, without_ending
from mosic.core.delivery import Headers
from mosic.db import clips
from mosic.db.clips import Clip
from mosic.errors import ClipNotFound, Unavailable
from mosic.wire.conditions import Validators, modified_by
from mosic.wire.dates import format_http_date
from mosic.wire.disposition import content_disposition

# About 2 KiB each.
_MOST = 8192
# While the database is away it is asked again only after this pause, by those who can do without.
_AWAY_SECONDS = 1.0
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class BlobFacts:
    """Of a clip whose bytes are in the store, with what is the same in every response about it."""

    clip_id: UUID
    blob_key: str
    size: int
    media_type: bytes
    validators: Validators
    whole: Headers
    """Of a 200."""

    part: Headers
    """Of a 206, without Content-Type, Content-Length and Content-Range."""

    part_to_if_range: Headers
    """The same for a client that has sent If-Range."""

    unchanged: Headers
    """Of a 304."""


@dataclass(frozen=True, slots=True)
class ExternalFacts:
    """Of a clip whose bytes are elsewhere."""

    clip_id: UUID
    url: str


Facts = BlobFacts | ExternalFacts


def has_ending(facts: Facts, ending: str) -> bool:
    """Whether files like this one have the ending (`.mp3`): by what was found in the bytes; of an external
    clip, by its URL."""
    if isinstance(facts, ExternalFacts):
        return PurePath(urlsplit(facts.url).path).suffix.lower() == ending.lower()
    return media_type_for(ending) == facts.media_type.decode("ascii")


def facts_of(clip: Clip) -> Facts:
    if clip.external_url is not None:
        return ExternalFacts(clip.id, clip.external_url)
    # The table's constraints promise these for a clip that has a blob.
    assert clip.blob_key
    assert clip.sha256
    assert clip.media_type
    assert clip.size is not None
    etag = f'"{clip.sha256.hex()}"'
    modified = modified_by(clip.stored_at or clip.created_at, now=datetime.now(UTC))
    media_type = clip.media_type.encode("ascii")
    unchanged = (
        (b"etag", etag.encode("ascii")),
        (b"cache-control", b"no-cache"),
        (b"accept-ranges", b"bytes"),
    )
    # Who gets a 304 needs only the ETag (RFC 9110 §15.4.5), who asks with If-Range has the date (§15.3.7).
    part_to_if_range = (
        *unchanged,
        (b"content-disposition", content_disposition("inline", _download_name(clip)).encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
    )
    part = (*part_to_if_range, (b"last-modified", format_http_date(modified).encode("ascii")))
    return BlobFacts(
        clip_id=clip.id,
        blob_key=clip.blob_key,
        size=clip.size,
        media_type=media_type,
        validators=Validators(etag, modified),
        whole=(*part, (b"content-type", media_type), (b"content-length", b"%d" % clip.size)),
        part=part,
        part_to_if_range=part_to_if_range,
        unchanged=unchanged,
    )


def _download_name(clip: Clip) -> str:
    """What a player that saves the audio may call it; the ending is that of what was found in the bytes."""
    stem = without_ending(clip.file_name) if clip.file_name else ""
    return f"{stem or clip.title}{ending_for(clip.media_type, clip.codec)}"


# The generation of what is never sure.
_NEVER = -1


@dataclass(slots=True)
class _Entry:
    facts: Facts
    generation: int


class FactsCache:
    """The facts of the clips that were asked for last. One per process.

    They are trusted as long as the process is notified of every edit and removal (`trust`, `drop`). While it
    is not (`distrust`), the database is asked each time; when the database is away as well, nothing can have
    changed in it, and what was known last is used.

    A notification comes a moment late. For a clip whose bytes are in the store that does no harm: the store
    itself opens nothing that was removed. Of an external clip only the row can show it, so the row is always
    read.
    """

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        *,
        wait_seconds: float,
        most: int = _MOST,
    ) -> None:
        """A known clip waits for the database for `wait_seconds` at most."""
        self._begin = begin
        self._wait_seconds = wait_seconds
        self._most = most
        # By the text of their ids, as it is in URLs: making a UUID of it takes long.
        self._entries: OrderedDict[UUID | str, _Entry] = OrderedDict()
        self._lookups: dict[UUID, asyncio.Task[Facts]] = {}
        self._trusted = False
        # What was looked up before notifications were last missed is of an older generation, and unsure.
        self._generation = 0
        self._away_until = 0.0

    def known(self, clip_id: UUID | str) -> Facts | None:
        """The facts of the clip, if they are known for sure; does not wait. `clip_id` may be a client's text.

        None may also mean that it is written in another way than usual: `get` takes a UUID.
        """
        entry = self._entries.get(clip_id)
        if entry is None or not self._trusted or entry.generation != self._generation:
            return None
        self._entries.move_to_end(clip_id)
        return entry.facts

    async def get(self, clip_id: UUID) -> Facts:
        """The facts; raises `ClipNotFound`, and `Unavailable` when that needs the database and it is away."""
        facts = self.known(str(clip_id))
        if facts is not None:
            return facts
        last_known = self._entries.get(str(clip_id))
        now = asyncio.get_running_loop().time
        if last_known is not None and self._away_until and isinstance(last_known.facts, BlobFacts):
            if now() < self._away_until:
                return last_known.facts
            # One asks whether the database is back, and the others do not wait with it.
            self._away_until = now() + self._wait_seconds + _AWAY_SECONDS
        try:
            async with asyncio.timeout(_PATIENCE if last_known is None else self._wait_seconds):
                return await self._ask(clip_id)
        except (Unavailable, TimeoutError) as error:
            self._away_until = now() + _AWAY_SECONDS
            if last_known is None:
                raise Unavailable("The database does not respond.") from error
            return last_known.facts

    async def _ask(self, clip_id: UUID) -> Facts:
        joined = clip_id in self._lookups
        facts = await asyncio.shield(self._lookup(clip_id))
        if joined and isinstance(facts, ExternalFacts):
            # Read before this was asked, maybe: see the class.
            facts = await asyncio.shield(self._lookup(clip_id))
        return facts

    def drop(self, clip_id: UUID) -> None:
        """The clip was edited or removed. Look-ups under way may have seen it as it was: their result is for
        those who have asked already, and is not kept."""
        self._lookups.pop(clip_id, None)
        self._entries.pop(str(clip_id), None)

    def trust(self) -> None:
        """From now on `drop` is called for every change; what is known from before is unsure."""
        self._trusted = True
        self._generation += 1
        self._lookups.clear()

    def distrust(self) -> None:
        """From now on changes may be missed."""
        self._trusted = False

    def _lookup(self, clip_id: UUID) -> asyncio.Task[Facts]:
        """One for all who ask at the same time; it goes on when they leave, so that no connection to the
        database is torn out of its work."""
        lookup = self._lookups.get(clip_id)
        if lookup is None:
            lookup = asyncio.create_task(self._read(clip_id), name="mosic-facts")
            self._lookups[clip_id] = lookup
            lookup.add_done_callback(_seen)
        return lookup

    async def _read(self, clip_id: UUID) -> Facts:
        generation = self._generation
        try:
            # No request waits for longer; and a later one must not wait for the same look-up.
            async with asyncio.timeout(_PATIENCE), self._begin() as connection:
                clip = await clips.get(connection, clip_id)
        except BaseException:
            self._is_current(clip_id)
            raise
        self._away_until = 0.0
        current = self._is_current(clip_id)
        if clip is None:
            if current:
                self._entries.pop(str(clip_id), None)
            raise ClipNotFound
        facts = facts_of(clip)
        if current:
            self._entries[str(clip_id)] = _Entry(
                facts, generation if isinstance(facts, BlobFacts) else _NEVER
            )
            self._entries.move_to_end(str(clip_id))
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return facts

    def _is_current(self, clip_id: UUID) -> bool:
        """Ends the look-up that calls; False when something has changed since it began."""
        if self._lookups.get(clip_id) is not asyncio.current_task():
            return False
        del self._lookups[clip_id]
        return True


def _seen(lookup: asyncio.Task[Facts]) -> None:
    if not lookup.cancelled():
        lookup.exception()  # those who still wait raise it; without any it does not matter
