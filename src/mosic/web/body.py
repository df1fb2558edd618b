"""Request body → staged file, in one pass, for forms and for raw bytes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

from pydantic import ValidationError
from starlette.requests import Request

from mosic.core.ingest import Hints
from mosic.core.ownids import check_own_id
from mosic.core.runtime import Runtime
from mosic.errors import (
    DigestMismatch,
    InvalidRequest,
    MissingFile,
    PartialUpload,
    TooLarge,
    UnsupportedContentType,
)
from mosic.staging import Chunk, Incoming, StagedFile, UploadWriter
from mosic.web.arriving import arriving_chunks, declared_size
from mosic.web.errors import invalid_request
from mosic.web.schemas import UploadWords
from mosic.wire.charsets import decoded
from mosic.wire.digest import declared_sha256
from mosic.wire.disposition import safe_file_name
from mosic.wire.fields import essence_of, fields_by_name
from mosic.wire.multipart import MultipartReader, PartBegin, PartData, PartEnd
from mosic.wire.partheaders import charset_of
from mosic.wire.ranges import parse_content_range

IGNORED_FIELDS = "Mosic-Ignored-Fields"
"""Header of the response to bytes that exist already: the words of the request that were ignored."""

_RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "application/ogg")
# For the other parts and the framing of a form whose file has the largest size allowed.
_FORM_EXTRA = 1024 * 1024
_FIELD_SIZE = 64 * 1024


@dataclass(slots=True)
class Received:
    """An upload that was received completely; `staged` is removed when the block of `receive_upload` ends."""

    staged: StagedFile
    hints: Hints


@dataclass(slots=True)
class _Form:
    """What was read of a form so far."""

    texts: dict[str, tuple[bytearray, str | None]] = field(default_factory=dict)
    """Name → bytes and Content-Type."""

    file_name: str | None = None
    has_file: bool = False

    def fields(self) -> dict[str, str]:
        """Decoded by each one's own charset, else by the form's (RFC 7578 §4.6), else by the likeliest."""
        common = bytes(self.texts.get("_charset_", (b"", None))[0]).decode("ascii", "replace")
        return {name: decoded(raw, charset_of(kind), common) for name, (raw, kind) in self.texts.items()}


@asynccontextmanager
async def receive_upload(
    request: Request, rt: Runtime, *, takes_fields: bool = True
) -> AsyncIterator[Received]:
    """Take the body of a POST or PUT into a staged file. Without `takes_fields` its fields make no clip.

    Raises `PartialUpload`, `ExternalIdTaken` and `TooLarge` (before a byte is read when the
    length is declared), `MalformedRequest`, `MissingFile`, `InvalidRequest` for form fields,
    `UnsupportedContentType`, `DigestMismatch`, `UploadStalled`, `InsufficientStorage`,
    `ClientDisconnected`; whatever is raised, nothing stays on disk.
    """
    limit = rt.settings.max_upload_bytes
    content_type = request.headers.get("content-type", "application/octet-stream")
    essence = essence_of(content_type)
    is_form = essence == "multipart/form-data"
    if not is_form and essence not in _RAW_TYPES and not essence.startswith(("audio/", "video/")):
        raise UnsupportedContentType(
            "Send multipart/form-data with a part 'file', or the audio itself as audio/* or "
            "application/octet-stream."
        )
    declared = declared_size(request)
    whole = _whole_size(request, None if is_form else declared)
    if declared is not None and declared > limit + (_FORM_EXTRA if is_form else 0):
        raise TooLarge(f"The body has {declared} bytes; at most {limit} are allowed.")
    reader = MultipartReader(content_type) if is_form else None
    expected_file = declared_digest(request)
    if request.scope["query_string"] and takes_fields and not is_form:
        early = raw_hints(request).external_id
        await check_own_id(rt, early, sha256=expected_file, size=declared)
    content = _Content(request)

    # The Content-Length of a form includes its framing: for the file it is only an upper bound.
    expected_size = min(declared, limit) if declared is not None else None
    async with rt.staging.create(Incoming(limit=limit, declared_size=expected_size)) as writer:
        chunks = content.watched(arriving_chunks(request, rt.settings))
        if reader is not None:
            form = await _read_form(reader, chunks, writer)
            if not form.has_file:
                raise MissingFile
            # Words in the query are taken as well.
            words = {**_query_words(request), **form.fields()}
            hints = _hints(words, form.file_name or _raw_file_name(request, words))
        else:
            async for chunk in chunks:
                await writer.write(chunk)
            hints = raw_hints(request)
        staged = await writer.finish()
        if whole is not None and staged.size != whole:
            raise _partial(f"The body is only a part of the file: {staged.size} of {whole} bytes.")
        if expected_file is not None and staged.sha256 != expected_file.hex():
            raise DigestMismatch(f"The file received has the SHA-256 {staged.sha256}.")
        content.verify()
        yield Received(staged, hints)


def _whole_size(request: Request, declared: int | None) -> int | None:
    """What Content-Range says the file has, None without one. Raises `PartialUpload` when it is not the
    whole. `declared` is the size of the file as far as it is known before its bytes are."""
    given = fields_by_name(request.headers.raw).get("content-range")
    if not given:
        return None
    content_range = parse_content_range(given)
    if content_range is None or not content_range.is_whole or declared not in (None, content_range.size):
        raise _partial("The Content-Range says that the body is only a part of the file.")
    return content_range.size


def _partial(reason: str) -> PartialUpload:
    return PartialUpload(
        f"{reason} Send the whole file, or send it in pieces with tus 1.0.0 at /play/uploads."
    )


def declared_digest(request: Request) -> bytes | None:
    """The SHA-256 that the client declares for the file, also for a file in a form.

    RFC 9530 defines Repr-Digest for the representation that is transferred. Here that is the file, with a
    form around it or without. Content-Digest is of the whole body (see `_Content`).
    """
    return declared_sha256(fields_by_name(request.headers.raw).get("repr-digest"))


class _Content:
    """Compares the body, framing included, with the Content-Digest of the request, if it has one."""

    def __init__(self, request: Request) -> None:
        self._expected = declared_sha256(fields_by_name(request.headers.raw).get("content-digest"))
        self._hash = hashlib.sha256()

    async def watched(self, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        async for chunk in chunks:
            if self._expected is not None:
                self._hash.update(chunk)
            yield chunk

    def verify(self) -> None:
        """Raises `DigestMismatch`."""
        if self._expected is not None and self._hash.digest() != self._expected:
            raise DigestMismatch(f"The body received has the SHA-256 {self._hash.hexdigest()}.")


async def _read_form(reader: MultipartReader, chunks: AsyncIterator[Chunk], writer: UploadWriter) -> _Form:
    form = _Form()
    into_file = False
    text: bytearray | None = None
    name = ""
    content_type: str | None = None
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
                case PartBegin(name, file_name, content_type):
                    into_file = name == "file"
                    if into_file and form.has_file:
                        raise InvalidRequest("The form has more than one part named 'file'.")
                    if into_file:
                        form.has_file = True
                        form.file_name = safe_file_name(file_name)
                    # Files under other names are ignored.
                    text = bytearray() if not into_file and file_name is None else None
                case PartEnd():
                    if text is not None:
                        form.texts[name] = text, content_type
                    into_file, text = False, None
    reader.finish()
    return form


def _query_words(request: Request) -> dict[str, str]:
    """The parameters of the query; of several with one name the last counts."""
    query = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    return {_text(name): _text(value) for name, value in pairs}


def _text(latin: str) -> str:
    return decoded(latin.encode("latin-1"))


def _raw_file_name(request: Request, words: Mapping[str, str]) -> str | None:
    """The file name of a raw upload: `?filename=`, else the name that `curl -T` appends to the path."""
    given = words.get("filename")
    if not given and "file_name" in request.path_params:
        # The bytes of the path may have another encoding than UTF-8.
        raw: bytes = request.scope.get("raw_path") or request.path_params["file_name"].encode()
        given = decoded(unquote_to_bytes(raw.rstrip(b"/").rpartition(b"/")[2]))
    return safe_file_name(given) if given else None


def raw_hints(request: Request) -> Hints:
    """The words in the query of a raw upload, and its file name. Raises `InvalidRequest`."""
    words = _query_words(request)
    return _hints(words, _raw_file_name(request, words))


def _hints(fields: dict[str, str], file_name: str | None) -> Hints:
    try:
        words = UploadWords.model_validate(fields)
    except ValidationError as error:
        raise invalid_request("body", error.errors()) from None
    return Hints(file_name=file_name, **words.model_dump())
