"""Request body → staged file, in one pass, whatever form the client chose to send it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from pydantic import ValidationError
from starlette.requests import Request

from mosic.core.ingest import Hints
from mosic.core.runtime import Runtime
from mosic.errors import (
    ClientDisconnected,
    InvalidRequest,
    MalformedRequest,
    MissingFile,
    TooLarge,
    UnsupportedContentType,
    UploadStalled,
)
from mosic.staged import StagedFile, StagedWriter
from mosic.web.errors import invalid_request
from mosic.web.schemas import UploadWords
from mosic.wire.disposition import safe_file_name
from mosic.wire.multipart import MultipartReader, PartBegin, PartData, PartEnd

_RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "application/ogg")
# Room for the other parts and the framing of a form whose file is just as large as allowed.
_FORM_EXTRA = 1024 * 1024
_FIELD_SIZE = 64 * 1024


@dataclass(slots=True)
class Received:
    """An upload that has arrived whole; `staged` is removed when the block that received it ends."""

    staged: StagedFile
    hints: Hints


@dataclass(slots=True)
class _Form:
    """What the parts of a form have said so far."""

    fields: dict[str, str] = field(default_factory=dict)
    file_name: str | None = None
    has_file: bool = False


@asynccontextmanager
async def receive_upload(request: Request, rt: Runtime) -> AsyncIterator[Received]:
    """Take the body of a POST or PUT into a staged file.

    Raises `TooLarge` (before a byte is read when the length is declared), `MalformedRequest`, `MissingFile`,
    `InvalidRequest` for form fields, `UnsupportedContentType`, `UploadStalled`, `InsufficientStorage`,
    `ClientDisconnected`; whatever is raised, nothing stays on disk.
    """
    limit = rt.settings.max_upload_bytes
    content_type = request.headers.get("content-type", "application/octet-stream")
    essence = content_type.partition(";")[0].strip().lower()
    is_form = essence == "multipart/form-data"
    if not is_form and essence not in _RAW_TYPES and not essence.startswith(("audio/", "video/")):
        raise UnsupportedContentType(
            "Send multipart/form-data with a part 'file', or the audio itself as audio/* or "
            "application/octet-stream."
        )
    declared = _declared_size(request)
    if declared is not None and declared > limit + (_FORM_EXTRA if is_form else 0):
        raise TooLarge(f"The body has {declared} bytes; at most {limit} are allowed.")

    chunks = _chunks(request, rt.settings.upload_idle_seconds)
    # What a form says of its length includes its framing: of the file it is only a bound.
    expected = min(declared, limit) if declared is not None else None
    async with rt.staging.receive(limit=limit, declared_size=expected) as writer:
        if is_form:
            form = await _read_form(MultipartReader(content_type), chunks, writer)
            if not form.has_file:
                raise MissingFile
            hints = _hints(form.fields, form.file_name)
        else:
            async for chunk in chunks:
                await writer.write(chunk)
            hints = _hints(dict(request.query_params), _raw_file_name(request))
        staged = await writer.finish()
        yield Received(staged, hints)


def _declared_size(request: Request) -> int | None:
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise MalformedRequest("Content-Length is not a number.")
    # Longer than any size that could be allowed; also keeps int() from chewing on megabytes of digits.
    return int(text) if len(text) <= 19 else 2**63


async def _chunks(request: Request, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body as it comes; raises when the client leaves or falls silent."""
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await request.receive()
        except TimeoutError:
            raise UploadStalled(f"Nothing arrived for {idle_seconds:g} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body", False):
            return


async def _read_form(reader: MultipartReader, chunks: AsyncIterator[bytes], writer: StagedWriter) -> _Form:
    form = _Form()
    into_file = False
    text: bytearray | None = None
    name = ""
    async for chunk in chunks:
        for event in reader.feed(chunk):
            match event:
                case PartData(data):
                    if into_file:
                        await writer.write(data)
                    elif text is not None:
                        text += data
                        if len(text) > _FIELD_SIZE:
                            raise TooLarge(f"The form field {name!r} is longer than {_FIELD_SIZE} bytes.")
                case PartBegin(name, file_name, _):
                    into_file = name == "file"
                    if into_file and form.has_file:
                        raise InvalidRequest("The form has more than one part named 'file'.")
                    if into_file:
                        form.has_file = True
                        form.file_name = safe_file_name(file_name)
                    # Files under other names are passed over.
                    text = bytearray() if not into_file and file_name is None else None
                case PartEnd():
                    if text is not None:
                        form.fields[name] = _decode(text, name)
                    into_file, text = False, None
    reader.finish()
    return form


def _decode(text: bytearray, name: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise MalformedRequest(f"The form field {name!r} is not UTF-8.") from None


def _raw_file_name(request: Request) -> str | None:
    """What a sender of raw bytes calls its file: `?filename=`, the name that `curl -T` adds to a PUT, or
    nothing."""
    given = request.query_params.get("filename") or request.path_params.get("file_name")
    return safe_file_name(unquote(given)) if given else None


def _hints(fields: dict[str, str], file_name: str | None) -> Hints:
    try:
        words = UploadWords.model_validate(fields)
    except ValidationError as error:
        raise invalid_request("body", error.errors()) from None
    return Hints(file_name=file_name, **words.model_dump())
