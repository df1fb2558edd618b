"""Resumable uploads to a service (tus 1.0.0). A failed request raises an exception of `failures`."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import AsyncIterator
from typing import ClassVar

from mosic.audio.types import media_type_for
from mosic.client.failures import NotFound, Refused, ServiceFailed, TryAgain
from mosic.client.service import Response, Service, not_mosic
from mosic.wire import tus
from mosic.wire.digest import digest_field
from mosic.wire.fields import TOO_LONG, parse_length

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Uploads(Service):
    """The uploads of a service."""

    _FIELDS: ClassVar = {"Tus-Resumable": tus.VERSION}

    async def has(self, sha256: str) -> bool:
        """Whether a clip with these bytes is there."""
        try:
            response = await self.request("GET", "play", query={"sha256": sha256})
            clips = json.loads(response.body)
            return any(clip["sha256"] == sha256 for clip in clips)
        except (NotFound, ValueError, KeyError, TypeError):
            raise ServiceFailed(not_mosic(f"{self.shown}/play")) from None
        except Refused as error:
            # The list was refused, not the file.
            raise ServiceFailed(str(error) if error.code else not_mosic(f"{self.shown}/play")) from None

    async def create(self, size: int, file_name: str, sha256: str) -> str:
        """The id of a new upload of so many bytes, which the service is to verify."""
        media_type = media_type_for(file_name) or "application/octet-stream"
        # The bytes of the name as they are: the service decodes what is not UTF-8.
        metadata = {"filename": os.fsencode(file_name), "filetype": media_type.encode()}
        try:
            response = await self.request(
                "POST",
                "play/uploads",
                headers={
                    "Upload-Length": str(size),
                    "Repr-Digest": digest_field(bytes.fromhex(sha256)),
                    "Upload-Metadata": ",".join(
                        f"{name} {base64.b64encode(value).decode('ascii')}"
                        for name, value in metadata.items()
                    ),
                },
            )
        except NotFound:
            raise ServiceFailed(f"{self.shown}/play/uploads does not accept uploads") from None
        # Only the last part of the URL: behind a proxy the service may not know its own host and prefix, and
        # the key must not go to any URL but the one that the user gave.
        upload_id = response.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise ServiceFailed(f"{self.shown}/play/uploads does not name the URL of the upload")
        return upload_id

    async def offset(self, upload_id: str, size: int) -> int:
        """How many bytes of the upload are there. Raises `NotFound` also for an upload of another size."""
        try:
            response = await self.request("HEAD", f"play/uploads/{upload_id}")
        except Refused:
            # A response to HEAD has no body that would give the reason.
            response = await self.request("GET", f"play/uploads/{upload_id}")
        if response.headers.get("Upload-Length", str(size)) != str(size):
            raise NotFound
        return _offset_of(response, size)

    async def append(self, upload_id: str, offset: int, length: int, chunks: AsyncIterator[bytes]) -> int:
        """Send `length` bytes in one request; returns the offset after them, or after some of them."""
        response = await self.request(
            "PATCH",
            f"play/uploads/{upload_id}",
            headers={
                "Upload-Offset": str(offset),
                "Content-Type": tus.CONTENT_TYPE,
                "Content-Length": str(length),
            },
            chunks=chunks,
        )
        after = _offset_of(response, offset + length)
        if after <= offset:
            raise TryAgain("the service kept none of the bytes that were sent")
        return after

    async def remove(self, upload_id: str) -> None:
        await self.request("DELETE", f"play/uploads/{upload_id}")


def _offset_of(response: Response, most: int) -> int:
    text = response.headers.get("Upload-Offset", "")
    try:
        offset = parse_length(text)
    except ValueError:
        offset = TOO_LONG
    if offset > most:
        raise TryAgain(f"the service reports the invalid offset {text[:20]!r}")
    return offset
