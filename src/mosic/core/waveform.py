"""The waveform of a clip, in the form that the client wants."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from mosic.core.delivery import Bytes, Delivery, Headers, read_rest
from mosic.core.responding import Answer, respond
from mosic.core.runtime import Runtime
from mosic.db import sounds
from mosic.errors import BlobDamaged, ClipNotFound, NoWaveform, SoundNotInstalled
from mosic.wire import waveform_svg
from mosic.wire.conditions import Validators
from mosic.wire.ids import parse_uuid
from mosic.wire.retrieval import Retrieval
from mosic.wire.waveform import MOST_BYTES, read_dat

Format = Literal["json", "dat", "svg"]

# What a picture shows when the client does not say.
_BARS = 480
_RETRY_AFTER_SECONDS = 2
_MEDIA_TYPES: dict[Format, bytes] = {
    "json": b"application/json",
    "dat": b"application/octet-stream",
    "svg": waveform_svg.MEDIA_TYPE.encode("ascii"),
}
# A picture that is opened by itself is a document of this origin: it may do nothing but look like one.
_OF_PICTURES = ((b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`points`: at most so many pairs; None: all that are stored, or as many as a picture has bars. `bits` of
    each value; a picture has none."""

    format: Format = "json"
    points: int | None = None
    bits: Literal[8, 16] = 8


async def open_waveform(rt: Runtime, clip_id: str, wanted: Wanted, asked: Retrieval) -> Delivery:
    """Open a waveform for a GET or HEAD, with conditions and ranges (RFC 9110 §13, §14); 202 while it is
    being made.

    `clip_id` is what the client wrote for one. Raises `ClipNotFound`, `NoWaveform` when there will be none,
    `SoundNotInstalled`, `PreconditionFailed`, `RangeNotSatisfiable`, `BlobMissing`, `BlobDamaged`,
    `Unavailable` and `OSError`.
    """
    key = await _find(rt, _parsed(clip_id))
    if key is None:
        return _pending(asked)
    async with rt.blobs.open(key) as blob:
        if blob.size > MOST_BYTES:
            raise BlobDamaged("The stored waveform of this clip is too large for one.")
        data = await read_rest(blob, b"", blob.size)
    # In a thread, for a long one takes milliseconds to be written as text.
    drawn = await asyncio.to_thread(_draw, bytes(data), wanted)
    answer = respond(drawn, asked)
    return Delivery(answer.status, answer.headers, _selected(drawn.body, answer))


def _parsed(clip_id: str) -> UUID:
    try:
        return parse_uuid(clip_id)
    except ValueError:
        raise ClipNotFound from None


async def _find(rt: Runtime, clip_id: UUID) -> str | None:
    """The key of its blob; None when the waveform is still to be made."""
    async with rt.begin() as connection:
        found = await sounds.find(connection, clip_id)
    if found is None:
        raise ClipNotFound
    if found.waveform is not None:
        return found.waveform
    if found.is_external:
        raise NoWaveform("The audio of this clip is stored elsewhere, so nothing is known of it.")
    if found.failed is not None:
        raise NoWaveform(found.failed)
    if rt.sounds is None:
        raise SoundNotInstalled("Install the extra: pip install 'mosic[sound]'")
    return None


def _pending(asked: Retrieval) -> Delivery:
    body = json.dumps({"state": "pending", "retry_after": _RETRY_AFTER_SECONDS}).encode() + b"\n"
    headers: Headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"%d" % _RETRY_AFTER_SECONDS),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return Delivery(202, headers, b"" if asked.method == "HEAD" else body)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """`mosic.core.responding` documents the fields."""

    body: bytes
    media_type: bytes
    validators: Validators
    whole: Headers
    part: Headers
    part_to_if_range: Headers
    unchanged: Headers

    @property
    def size(self) -> int:
        return len(self.body)


def _draw(data: bytes, wanted: Wanted) -> _Drawn:
    try:
        waveform = read_dat(data)
    except ValueError as error:
        raise BlobDamaged(f"The stored waveform of this clip cannot be read: {error}.") from None
    points = _BARS if wanted.points is None and wanted.format == "svg" else wanted.points
    if points is not None:
        waveform = waveform.resampled(points)
    if wanted.format == "svg":
        body = waveform_svg.as_svg(waveform)
    else:
        if wanted.bits == 8:
            waveform = waveform.in_8_bits()
        body = waveform.as_dat() if wanted.format == "dat" else waveform.as_json()
    media_type = _MEDIA_TYPES[wanted.format]
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    unchanged: Headers = (
        (b"etag", etag.encode("ascii")),
        (b"cache-control", b"no-cache"),
        (b"accept-ranges", b"bytes"),
    )
    part: Headers = (
        *unchanged,
        (b"content-disposition", b'inline; filename="waveform.%b"' % wanted.format.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        *(_OF_PICTURES if wanted.format == "svg" else ()),
    )
    return _Drawn(
        body=body,
        media_type=media_type,
        validators=Validators(etag, None),
        whole=(*part, (b"content-type", media_type), (b"content-length", b"%d" % len(body))),
        part=part,
        part_to_if_range=part,
        unchanged=unchanged,
    )


def _selected(body: bytes, answer: Answer) -> Bytes:
    if answer.framed is None:
        return body[answer.start : answer.stop]
    pieces = (framing + body[one.start : one.stop] for framing, one in answer.framed.parts)
    return b"".join(pieces) + answer.framed.closing
