"""The service as an uploader sees it: is it there already, create, look, add (tus 1.0.0).

Every request either gets what it asked for or ends in an exception of `verdict`, which says what to do next.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import AsyncIterator
from typing import ClassVar

from mosic.audio.types import media_type_for
from mosic.client.service import Answer, Service, not_mosic
from mosic.client.verdict import Hopeless, Missing, Refused, Trouble
from mosic.wire import tus
from mosic.wire.digest import digest_field
from mosic.wire.fields import TOO_LONG, parse_length

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Server(Service):
    """A service that takes uploads."""

    _FIELDS: ClassVar = {"Tus-Resumable": tus.VERSION}

    async def has(self, sha256: str) -> bool:
        """Whether a clip with these bytes is there."""
        try:
            answer = await self.ask("GET", "play", query={"sha256": sha256})
            clips = json.loads(answer.body)
            return any(clip["sha256"] == sha256 for clip in clips)
        except (Missing, ValueError, KeyError, TypeError):
            raise Hopeless(not_mosic(f"{self.shown}/play")) from None
        except Refused as error:
            # It is not the file that was judged.
            raise Hopeless(str(error) if error.code else not_mosic(f"{self.shown}/play")) from None

    async def create(self, size: int, file_name: str, sha256: str) -> str:
        """The id of a new upload of so many bytes, which the service is to verify."""
        media_type = media_type_for(file_name) or "application/octet-stream"
        # The bytes of the name as they are: the service makes the best of what is not UTF-8.
        metadata = {"filename": os.fsencode(file_name), "filetype": media_type.encode()}
        try:
            answer = await self.ask(
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
        except Missing:
            raise Hopeless(f"{self.shown}/play/uploads does not accept uploads") from None
        # Only the last part of the address: what the service believes to be its host and prefix may be wrong
        # behind a proxy, and the key goes nowhere but to the address that the person gave.
        upload_id = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise Hopeless(f"{self.shown}/play/uploads does not name the URL of the upload")
        return upload_id

    async def offset(self, upload_id: str, size: int) -> int:
        """How many bytes of the upload are there. Raises `Missing` for one of another size too."""
        try:
            answer = await self.ask("HEAD", f"play/uploads/{upload_id}")
        except Refused:
            # An answer to HEAD has no room for the reason.
            answer = await self.ask("GET", f"play/uploads/{upload_id}")
        if answer.headers.get("Upload-Length", str(size)) != str(size):
            raise Missing
        return _offset_of(answer, size)

    async def append(self, upload_id: str, offset: int, length: int, chunks: AsyncIterator[bytes]) -> int:
        """Send `length` bytes in one request; returns the offset after them, or after some of them."""
        answer = await self.ask(
            "PATCH",
            f"play/uploads/{upload_id}",
            headers={
                "Upload-Offset": str(offset),
                "Content-Type": tus.CONTENT_TYPE,
                "Content-Length": str(length),
            },
            chunks=chunks,
        )
        after = _offset_of(answer, offset + length)
        if after <= offset:
            raise Trouble("the service kept none of the bytes that were sent")
        return after

    async def remove(self, upload_id: str) -> None:
        await self.ask("DELETE", f"play/uploads/{upload_id}")


def _offset_of(answer: Answer, most: int) -> int:
    text = answer.headers.get("Upload-Offset", "")
    try:
        offset = parse_length(text)
    except ValueError:
        offset = TOO_LONG
    if offset > most:
        raise Trouble(f"the service reports the invalid offset {text[:20]!r}")
    return offset
