"""One opened delivery of a clip's audio: everything that can fail is settled before the first byte."""

from __future__ import annotations

from uuid import UUID

from mosic.blobs.base import FilesBelow, at_once
from mosic.core.delivery import BlobBody, Body, RemoteBody, Stream, read_rest
from mosic.core.facts import BlobFacts, ExternalFacts, has_ending
from mosic.core.responding import NOTHING, Answer, respond
from mosic.core.runtime import Runtime
from mosic.errors import (
    BlobMissing,
    ClipNotFound,
    MosicError,
    PreconditionFailed,
    RangeNotSatisfiable,
    RemoteDisabled,
    RemoteFailed,
)
from mosic.wire.accel import can_hand_over, handed_over
from mosic.wire.addresses import MAX_URL_LENGTH, ascii_url
from mosic.wire.ids import parse_uuid
from mosic.wire.ranges import IntRange
from mosic.wire.retrieval import Retrieval

# A response of so much is read and sent in one piece.
_ONE_PIECE = 128 * 1024
# Of a longer one so much is read before its status is sent.
_FIRST_PIECE = 64 * 1024
_PROBE_SIZE = 2


def counts_as_play(method: str, status: int, start: int, size: int | None) -> bool:
    """Whether a response is a play: one to a GET, with bytes from the very start, and more than a probe.

    `start` and `size` are those of what will be sent (of a set of ranges, the one at the start of the file);
    a `size` of None is unknown. Players probe with `bytes=0-1`, and seek elsewhere.
    """
    if method != "GET":
        return False
    if status == 200:
        return True
    return status == 206 and start == 0 and (size is None or size > _PROBE_SIZE)


async def open_stream(
    rt: Runtime, clip_id: UUID | str, asked: Retrieval, ending: str | None = None
) -> Stream:
    """Open the audio of a clip for a GET or HEAD, as RFC 9110 §13 and §14 ask; a play is counted.

    `clip_id` may be what a client wrote for one. `ending` (`.mp3`) is what the URL ends in, if anything: of a
    clip that has another one there is no such stream. Raises `ClipNotFound`, `PreconditionFailed`,
    `RangeNotSatisfiable`, `BlobMissing`, `Unavailable`, `RemoteFailed`, `RemoteTimeout`, `RemoteDisabled`,
    and `OSError` when the medium fails.
    """
    facts = rt.facts.known(clip_id) or await rt.facts.get(_parsed(clip_id))
    if ending is not None and not has_ending(facts, ending):
        raise ClipNotFound(
            "This clip has another file ending. Leave the ending out: the stream URL works without it."
        )
    if isinstance(facts, ExternalFacts):
        return await _open_external(rt, facts, asked)
    refusal: MosicError | None = None
    try:
        response = respond(facts, asked)
    except (PreconditionFailed, RangeNotSatisfiable) as error:
        # Only raised when what is known of the clip is current, which opening its blob shows.
        refusal, response = error, NOTHING
    start, size = response.start, response.stop - response.start
    is_short = response.framed is None and size <= _ONE_PIECE
    is_play = counts_as_play(asked.method, response.status, start, size)
    if is_short and size and not is_play and rt.settings.accel_redirect is None:
        # A short cut to the same result: most requests are for a part that is in memory.
        store = at_once(rt.blobs)
        if store is not None and (
            piece := store.read_now(facts.blob_key, (start, response.stop), facts.size)
        ):
            return Stream(
                facts.clip_id, rt.metrics.streams, rt.plays, response.status, response.headers, piece
            )
    is_there = False
    try:
        # Where no bytes are to be sent the span is empty.
        async with (
            rt.blobs.open(facts.blob_key, (start, response.stop)) if is_short else _body(rt, facts, response)
        ) as source:
            is_there = True
            if source.size != facts.size:
                raise BlobMissing("The stored file is shorter or longer than the catalogue says.")
            if refusal is not None:
                raise refusal
            if is_play:
                await rt.plays.count(facts.clip_id)
            if rt.settings.accel_redirect is not None and size:
                handed = _handed_over(rt, facts, asked, response)
                if handed is not None:
                    return handed
            # Not before: thousands of listeners may wait here for their play to be written.
            if isinstance(source, BlobBody):
                first = await source.next(_FIRST_PIECE)
                return Stream(
                    facts.clip_id,
                    rt.metrics.streams,
                    rt.plays,
                    response.status,
                    response.headers,
                    first,
                    source.stay_open(),
                )
            first = await source.read(size) if size else b""
            if len(first) < size:
                first = await read_rest(source, first, size)
            return Stream(
                facts.clip_id, rt.metrics.streams, rt.plays, response.status, response.headers, first
            )
    except BlobMissing:
        if is_there or not await _has_other_blob(rt, facts):
            raise
    return await open_stream(rt, clip_id, asked, ending)


def _parsed(clip_id: UUID | str) -> UUID:
    try:
        return parse_uuid(str(clip_id))
    except ValueError:
        raise ClipNotFound from None


async def _has_other_blob(rt: Runtime, facts: BlobFacts) -> bool:
    """Whether what was known of a clip is behind: it has got other bytes. A missing blob is also the first
    sign that the clip was removed, which the look-up shows: raises `ClipNotFound`."""
    rt.facts.drop(facts.clip_id)
    current = await rt.facts.get(facts.clip_id)
    return not isinstance(current, BlobFacts) or current.blob_key != facts.blob_key


def _body(rt: Runtime, facts: BlobFacts, response: Answer) -> BlobBody:
    if response.framed is None:
        return BlobBody(((b"", rt.blobs.open(facts.blob_key, (response.start, response.stop))),))
    parts = [
        (framing, rt.blobs.open(facts.blob_key, (one.start, one.stop)))
        for framing, one in response.framed.parts
    ]
    return BlobBody(parts, response.framed.closing)


def _handed_over(rt: Runtime, facts: BlobFacts, asked: Retrieval, response: Answer) -> Stream | None:
    """What nginx gets, to send the bytes itself, where it can."""
    etag = facts.validators.etag
    assert etag is not None
    if not isinstance(rt.blobs, FilesBelow) or not can_hand_over(asked, etag, response.status):
        return None
    location = f"{rt.settings.accel_redirect}{rt.blobs.path_below_root(facts.blob_key)}"
    headers = handed_over(response.headers, response.status, location)
    return Stream(facts.clip_id, rt.metrics.streams, rt.plays, 200, headers)


async def _open_external(rt: Runtime, facts: ExternalFacts, asked: Retrieval) -> Stream:
    if rt.settings.remote_stream == "off":
        raise RemoteDisabled
    if rt.settings.remote_stream == "redirect" and (location := _location(facts.url)) is not None:
        if asked.method == "GET" and (asked.ranges is None or _from_start(asked.ranges)):
            await rt.plays.count(facts.clip_id)
        redirect = ((b"location", location), (b"content-length", b"0"))
        return Stream(facts.clip_id, rt.metrics.streams, rt.plays, 307, redirect)

    response = await rt.remote.open(facts.url, asked)
    head = response.head
    body = RemoteBody(response)
    rest: Body | None = None
    try:
        if head.status == 412:
            raise PreconditionFailed
        if head.status == 416:
            raise RangeNotSatisfiable(head.content_range.size if head.content_range is not None else None)
        headers = (
            *(
                (name.lower().encode("ascii"), value.encode("latin-1"))
                for name, value in head.headers.items()
            ),
            (b"cache-control", b"no-cache"),
            (b"x-content-type-options", b"nosniff"),
        )
        if asked.method == "HEAD" or head.status not in (200, 206):
            return Stream(facts.clip_id, rt.metrics.streams, rt.plays, head.status, headers)
        first = await body.next(_FIRST_PIECE)
        part = head.content_range.part if head.content_range is not None else None
        start, size = (part.start, part.size) if part is not None else (0, None)
        if counts_as_play(asked.method, head.status, start, size):
            await rt.plays.count(facts.clip_id)
        rest = body
        return Stream(facts.clip_id, rt.metrics.streams, rt.plays, head.status, headers, first, rest)
    finally:
        if rest is None:
            await body.close()


def _location(url: str) -> bytes | None:
    """Where to redirect to; None for a URL that is too long for a header field, whose audio is passed
    through instead. (Since their encoded length is bounded no such clip is added any more.)"""
    location = ascii_url(url)
    if location is None:
        raise RemoteFailed("The URL of this clip cannot be redirected to.")
    return location.encode("ascii") if len(location) <= MAX_URL_LENGTH else None


def _from_start(asked: tuple[object, ...]) -> bool:
    """Whether some asked range begins at the first byte and wants more than a probe."""
    return any(
        isinstance(one, IntRange) and one.first == 0 and (one.last is None or one.last >= _PROBE_SIZE)
        for one in asked
    )
