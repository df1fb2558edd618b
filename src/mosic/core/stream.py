"""One opened delivery of a clip's audio: everything that can fail is settled before the first byte."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from uuid import UUID

from mosic.blobs.base import FilesBelow, OpenBlob
from mosic.core.runtime import Runtime
from mosic.db import clips
from mosic.db.clips import Clip
from mosic.errors import BlobMissing, ClipNotFound, PreconditionFailed, RangeNotSatisfiable, RemoteDisabled
from mosic.remote import RemoteAnswer
from mosic.wire import byteranges
from mosic.wire.accel import can_hand_over, handed_over
from mosic.wire.conditions import Validators, Verdict, evaluate, if_range_holds, modified_by
from mosic.wire.dates import format_http_date
from mosic.wire.disposition import content_disposition
from mosic.wire.ranges import IntRange, Slice, Unsliced, parse_range, resolve

_CHUNK = 256 * 1024
_PROBE_SIZE = 2

_ENDINGS = {
    "audio/mpeg": ".mp3",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "audio/wav": ".wav",
    "audio/aiff": ".aiff",
    "audio/x-ms-wma": ".wma",
    "audio/x-ape": ".ape",
    "audio/x-wavpack": ".wv",
    "audio/x-musepack": ".mpc",
    "audio/x-tta": ".tta",
    "audio/ac3": ".ac3",
}

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Stream:
    """An answer ready to be sent. Must be closed, also when it is never read."""

    status: int
    headers: Headers
    body: Body | None = None

    async def close(self) -> None:
        if self.body is not None:
            await self.body.close()


class BlobBody:
    """Slices of an open blob, with framing between them when there are several."""

    def __init__(self, clip_id: UUID, blob: OpenBlob, parts: tuple[tuple[bytes, Slice], ...], closing: bytes):
        self.clip_id = clip_id
        self._blob = blob
        self._parts = parts
        self._closing = closing

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        """Buffers of bounded size, each the reader's own. Raises `OSError` when the medium fails."""
        for head, part in self._parts:
            if head:
                yield head
            at = part.start
            while at < part.stop:
                size = min(_CHUNK, part.stop - at)
                chunk = self._blob.read_now(at, size) or await self._blob.read(at, size)
                if not chunk:
                    raise OSError("the blob became shorter while it was read")
                at += len(chunk)
                yield chunk
        if self._closing:
            yield self._closing

    async def close(self) -> None:
        self._blob.close()


class RemoteBody:
    """The bytes of an external source, as they come."""

    def __init__(self, clip_id: UUID, answer: RemoteAnswer) -> None:
        self.clip_id = clip_id
        self._answer = answer

    def chunks(self) -> AsyncIterator[bytes | bytearray]:
        return self._answer.body

    async def close(self) -> None:
        await self._answer.close()


Body = BlobBody | RemoteBody


def counts_as_play(method: str, status: int, start: int, size: int | None) -> bool:
    """Whether an answer is a listening: a GET answered with bytes from the very start, more than a probe.

    `start` and `size` are those of what will be sent (of a set of ranges, the one at the start of the file);
    a `size` of None is one that is not known. Players probe with `bytes=0-1`, and seek elsewhere.
    """
    if method != "GET":
        return False
    if status == 200:
        return True
    return status == 206 and start == 0 and (size is None or size > _PROBE_SIZE)


async def open_stream(rt: Runtime, clip_id: UUID, method: str, fields: Mapping[str, str]) -> Stream:
    """Answer a GET or HEAD for the audio of a clip as RFC 9110 §13 and §14 ask; a play is counted.

    `fields` are the request's, with lower-case names. Raises `ClipNotFound`, `PreconditionFailed`,
    `RangeNotSatisfiable`, `BlobMissing`, `Unavailable`, `RemoteFailed`, `RemoteTimeout`, `RemoteDisabled`.
    """
    async with rt.begin() as connection:
        clip = await clips.get(connection, clip_id)
    if clip is None:
        raise ClipNotFound
    if clip.external_url is not None:
        return await _open_external(rt, clip, clip.external_url, method, fields)
    try:
        return await _open_blob(rt, clip, method, fields)
    except BlobMissing:
        # Deleted since it was looked up? The row always goes before the bytes.
        async with rt.begin() as connection:
            if await clips.get(connection, clip_id) is None:
                raise ClipNotFound from None
        raise


async def _open_blob(rt: Runtime, clip: Clip, method: str, fields: Mapping[str, str]) -> Stream:
    # The table's constraints promise these for a clip that has a blob.
    assert clip.blob_key
    assert clip.sha256
    assert clip.media_type
    assert clip.size is not None
    etag = f'"{clip.sha256.hex()}"'
    modified = modified_by(clip.created_at, now=datetime.now(UTC))
    validators = Validators(etag, modified)
    shared = [
        (b"etag", etag.encode("ascii")),
        (b"cache-control", b"no-cache"),
        (b"accept-ranges", b"bytes"),
    ]
    verdict = evaluate(method, fields, validators)
    if verdict is Verdict.PRECONDITION_FAILED:
        raise PreconditionFailed
    if verdict is Verdict.NOT_MODIFIED:
        return Stream(304, shared)

    asked = parse_range(fields.get("range")) if method == "GET" else None
    if asked is not None and not if_range_holds(fields.get("if-range"), validators):
        asked = None
    slices = resolve(asked, clip.size) if asked is not None else Unsliced.WHOLE
    if slices is Unsliced.UNSATISFIABLE:
        raise RangeNotSatisfiable(clip.size)

    headers = [
        *shared,
        (b"content-disposition", content_disposition("inline", _download_name(clip)).encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
    ]
    if slices is Unsliced.WHOLE or "if-range" not in fields:
        # Who asks with If-Range has it (RFC 9110 §15.3.7), and who gets a 304 needs only the ETag (§15.4.5).
        headers.append((b"last-modified", format_http_date(modified).encode("ascii")))
    blob = await rt.blobs.open(clip.blob_key)
    try:
        if slices is Unsliced.WHOLE:
            whole = Slice(0, clip.size)
            body = BlobBody(clip.id, blob, ((b"", whole),), b"")
            _add(headers, clip.media_type, clip.size)
            status, first = 200, whole
        elif len(slices) == 1:
            first = slices[0]
            body = BlobBody(clip.id, blob, ((b"", first),), b"")
            _add(headers, clip.media_type, first.size, first.content_range(clip.size))
            status = 206
        else:
            framed = byteranges.frame(slices, clip.size, clip.media_type, secrets.token_hex(16))
            body = BlobBody(clip.id, blob, framed.parts, framed.closing)
            _add(headers, framed.content_type, framed.length)
            status, first = 206, min(slices, key=lambda one: one.start)
        if counts_as_play(method, status, first.start, first.size):
            await rt.plays.count(clip.id)
    except BaseException:
        blob.close()
        raise
    if method == "HEAD":
        blob.close()
        return Stream(status, headers)
    prefix = rt.settings.accel_redirect
    if prefix is not None and isinstance(rt.blobs, FilesBelow) and can_hand_over(fields, etag, status):
        blob.close()
        location = prefix + rt.blobs.path_below_root(clip.blob_key)
        return Stream(200, list(handed_over(headers, status, location)))
    return Stream(status, headers, body)


async def _open_external(rt: Runtime, clip: Clip, url: str, method: str, fields: Mapping[str, str]) -> Stream:
    asked = parse_range(fields.get("range")) if method == "GET" else None
    if rt.settings.remote_stream == "off":
        raise RemoteDisabled
    if rt.settings.remote_stream == "redirect":
        if method == "GET" and (asked is None or _from_start(asked)):
            await rt.plays.count(clip.id)
        return Stream(307, [(b"location", url.encode("ascii")), (b"content-length", b"0")])

    answer = await rt.remote.open(url, method=method, fields=fields)
    try:
        headers = [
            (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in answer.headers.items()
        ]
        headers += [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
        from_start = asked is None or _from_start(asked)
        if counts_as_play(method, answer.status, 0 if from_start else 1, None):
            await rt.plays.count(clip.id)
    except BaseException:
        await answer.close()
        raise
    if method == "HEAD" or answer.status not in (200, 206):
        await answer.close()
        return Stream(answer.status, headers)
    return Stream(answer.status, headers, RemoteBody(clip.id, answer))


def _from_start(asked: tuple[object, ...]) -> bool:
    """Whether some asked range begins at the first byte and wants more than a probe."""
    return any(
        isinstance(one, IntRange) and one.first == 0 and (one.last is None or one.last >= _PROBE_SIZE)
        for one in asked
    )


def _add(headers: Headers, content_type: str, size: int, content_range: str | None = None) -> None:
    headers.append((b"content-type", content_type.encode("ascii")))
    headers.append((b"content-length", str(size).encode("ascii")))
    if content_range is not None:
        headers.append((b"content-range", content_range.encode("ascii")))


def _download_name(clip: Clip) -> str:
    """What a player that saves the audio may call it; the ending is that of what was found in the bytes."""
    stem = PurePath(clip.file_name).stem if clip.file_name else clip.title
    return f"{stem}{_ENDINGS.get(clip.media_type or '', '')}"
