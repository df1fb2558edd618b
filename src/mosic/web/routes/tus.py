"""`/play/uploads`: resumable uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mosic.core.ingest import Hints
from mosic.core.uploads.append import append
from mosic.core.uploads.state import UploadState
from mosic.core.uploads.unfinished import create, look_up, remove
from mosic.errors import (
    BlobDamaged,
    ChecksumMismatch,
    DigestMismatch,
    ExternalIdTaken,
    InsufficientStorage,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    OffsetMismatch,
    TooLarge,
    TooManyUploads,
    TooMuchPromised,
    Unavailable,
    UnreadableMedia,
    UnsupportedContentEncoding,
    UnsupportedContentType,
    UnsupportedMedia,
    UnsupportedTusVersion,
    UploadGone,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
)
from mosic.web.arriving import arriving_chunks, refuse_encoded
from mosic.web.auth import KEY_NAME, REFUSALS, WITH_KEY, sender_of
from mosic.web.body import IGNORED_FIELDS
from mosic.web.deps import Links, Rt
from mosic.web.errors import invalid_request, problems
from mosic.web.parameters import known_parameters
from mosic.web.paths import CLIP
from mosic.web.responses import json_response
from mosic.web.schemas import UploadWords
from mosic.web.urls import Urls
from mosic.wire import tus
from mosic.wire.disposition import safe_file_name
from mosic.wire.ids import parse_uuid

PATH = "/play/uploads"
_ONE = PATH + "/{upload_id}"

_GONE = (UploadNotFound, UploadGone, DigestMismatch, UnsupportedMedia, UnreadableMedia)
_RECEIVING = (
    *REFUSALS,
    UnsupportedTusVersion,
    MalformedRequest,
    UnsupportedContentType,
    UnsupportedContentEncoding,
    UploadInterrupted,
    TooLarge,
    ChecksumMismatch,
    InsufficientStorage,
    BlobDamaged,
    TooMuchPromised,
)
_BODY: dict[str, Any] = {
    "requestBody": {"content": {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}

router = APIRouter(tags=["resumable uploads (tus 1.0.0)"], responses=problems(Unavailable))


class UploadOut(BaseModel):
    """Where a resumable upload stands."""

    id: UUID
    offset: int = Field(description="Bytes received.")
    length: int | None = Field(description="Size in bytes; null while it is not known.")
    expires_at: datetime | None = Field(description="When it is removed; null once its clip is made.")
    clip_id: UUID | None = Field(description="The clip made from it.")


async def _upload_id(
    upload_id: Annotated[str, Path(description="From the Location of the created upload.")],
) -> UUID:
    try:
        return parse_uuid(upload_id)
    except ValueError:
        raise UploadNotFound from None


UploadId = Annotated[UUID, Depends(_upload_id)]


@router.options(
    PATH,
    status_code=204,
    summary="The supported tus version and extensions",
    dependencies=[Depends(known_parameters)],
)
@router.options(_ONE, status_code=204, include_in_schema=False, dependencies=[Depends(known_parameters)])
async def describe(rt: Rt) -> Response:
    return Response(status_code=204, headers=tus.options_headers(max_size=rt.settings.max_upload_bytes))


@router.api_route(PATH, methods=["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE"], include_in_schema=False)
async def refuse_method() -> Response:
    """Without this route the path would match that of a clip."""
    raise MethodNotAllowed(headers={"Allow": "OPTIONS, POST"})


@router.post(
    PATH,
    status_code=201,
    response_class=Response,
    dependencies=WITH_KEY,
    summary="Create a resumable upload, with or without its first bytes",
    responses=problems(
        *_RECEIVING,
        ExternalIdTaken,
        TooManyUploads,
        InvalidRequest,
        DigestMismatch,
        UnsupportedMedia,
        UnreadableMedia,
    ),
    openapi_extra=_BODY,
)
async def create_upload(request: Request, rt: Rt, links: Links) -> Response:
    tus.check_version(request.headers.raw)
    refuse_encoded(request)
    creation = tus.parse_creation(request.headers.raw, max_size=rt.settings.max_upload_bytes)
    hints = _hints(creation.metadata.values)
    body = arriving_chunks(request, rt.settings)
    sender = sender_of(rt, request.scope)
    state = await create(rt, creation, hints, body, sender, key_name=request.scope.get(KEY_NAME))
    return Response(
        status_code=201, headers={"Location": links.upload(state.id), **_headers(request, state, links)}
    )


@router.patch(
    _ONE,
    status_code=204,
    dependencies=WITH_KEY,
    summary="Add bytes; the last bytes make the clip",
    responses=problems(*_RECEIVING, *_GONE, OffsetMismatch, UploadLocked),
    openapi_extra=_BODY,
)
async def add_to_upload(request: Request, upload_id: UploadId, rt: Rt, links: Links) -> Response:
    tus.check_version(request.headers.raw)
    refuse_encoded(request)
    wanted = tus.parse_append(request.headers.raw)
    state = await append(
        rt, upload_id, wanted, arriving_chunks(request, rt.settings), sender_of(rt, request.scope)
    )
    return Response(status_code=204, headers=_headers(request, state, links))


@router.head(
    _ONE,
    response_class=Response,
    dependencies=WITH_KEY,
    summary="The current offset of an upload",
    responses=problems(*REFUSALS, UnsupportedTusVersion, *_GONE),
)
async def look_at_upload(request: Request, upload_id: UploadId, rt: Rt, links: Links) -> Response:
    tus.check_version(request.headers.raw)
    state = await look_up(rt, upload_id)
    headers = tus.head_headers(
        offset=state.offset,
        length=state.length,
        raw_metadata=state.raw_metadata,
        expires=state.expires_at,
    )
    return Response(headers={**headers, **_headers(request, state, links)})


@router.get(
    _ONE,
    dependencies=WITH_KEY,
    response_model=UploadOut,
    summary="The current offset of an upload, in JSON",
    responses=problems(*REFUSALS, *_GONE),
)
async def show_upload(request: Request, upload_id: UploadId, rt: Rt, links: Links) -> Response:
    state = await look_up(rt, upload_id)
    shown = UploadOut(
        id=state.id,
        offset=state.offset,
        length=state.length,
        expires_at=state.expires_at,
        clip_id=state.clip_id,
    )
    headers = {**_headers(request, state, links), "Cache-Control": "no-store"}
    return json_response(shown.model_dump_json().encode(), headers=headers)


@router.delete(
    _ONE,
    status_code=204,
    dependencies=WITH_KEY,
    summary="End an upload; the clip of a finished upload stays",
    responses=problems(*REFUSALS, UnsupportedTusVersion, UploadNotFound, UploadGone),
)
async def end_upload(request: Request, upload_id: UploadId, rt: Rt) -> Response:
    tus.check_version(request.headers.raw)
    await remove(rt, upload_id)
    return Response(status_code=204)


def _headers(request: Request, state: UploadState, links: Urls) -> dict[str, str]:
    headers = tus.offset_headers(state.offset, state.expires_at)
    if state.clip_id is not None:
        request.scope[CLIP] = str(state.clip_id)
        headers["Content-Location"] = links.clip_path(state.clip_id)
    if state.not_taken:
        headers[IGNORED_FIELDS] = ", ".join(state.not_taken)
    return headers


def _hints(values: Mapping[str, str]) -> Hints:
    """What Upload-Metadata says about the audio, by the names of form fields. For the name of the file some
    clients send `filename`, some `name`."""
    try:
        words = UploadWords.model_validate(dict(values))
    except ValidationError as error:
        raise invalid_request("Upload-Metadata", error.errors()) from None
    file_name = values.get("filename") or values.get("name")
    return Hints(file_name=safe_file_name(file_name) if file_name else None, **words.model_dump())


class TusDialect:
    """ASGI: what tus requires of every request and response on its paths, errors of any origin included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(PATH + "/"):
            await self._app(scope, receive, send)
            return
        method = tus.effective_method(scope["method"], scope["headers"])

        async def send_in_dialect(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Tus-Resumable"] = tus.VERSION
            await send(message)

        # A copy: the server still has to frame the response for the method that was sent.
        inner = {**scope, "method": method}
        try:
            await self._app(inner, receive, send if method == "OPTIONS" else send_in_dialect)
        finally:
            for name in ("route", KEY_NAME, CLIP):
                if name in inner:
                    scope[name] = inner[name]
