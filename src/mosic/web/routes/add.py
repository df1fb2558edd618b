"""`/play` and `/play/upload`: add a clip, by its bytes or by the URL of an external one."""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response

from mosic.core import catalog, replace
from mosic.core.bytes import has_bytes
from mosic.core.ingest import Hints, ingest
from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import (
    BlobDamaged,
    BytesTaken,
    ClipNotFound,
    DigestMismatch,
    ExternalIdTaken,
    InsufficientStorage,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MissingFile,
    MosicError,
    PartialUpload,
    PreconditionFailed,
    RemoteRefused,
    TooLarge,
    Unavailable,
    UnreadableMedia,
    UnsupportedContentEncoding,
    UnsupportedContentType,
    UnsupportedMedia,
    UploadStalled,
)
from mosic.web.arriving import waits_for_continue
from mosic.web.auth import REFUSALS, WITH_KEY, sender_of
from mosic.web.body import IGNORED_FIELDS, declared_digest, raw_hints, receive_upload
from mosic.web.deps import ClipId, Links, Rt, preconditions_of
from mosic.web.errors import problems
from mosic.web.parameters import refuse_unknown
from mosic.web.paths import CLIP
from mosic.web.responses import clip_response, parsed, small_body
from mosic.web.schemas import ClipOut, ExternalClipIn
from mosic.web.urls import Urls
from mosic.wire.fields import essence_of
from mosic.words import NUMBERS, TEXTS

router = APIRouter(tags=["clips"], responses=problems(Unavailable))

_IGNORED = {
    IGNORED_FIELDS: {
        "schema": {"type": "string"},
        "description": "The fields of this request that were ignored: the clip keeps other values.",
    }
}
_KNOWN: dict[str, Any] = {
    "model": ClipOut,
    "description": "The service had these bytes already. PATCH the clip to change its fields.",
    "headers": _IGNORED,
}
_REPLACED: dict[str, Any] = {
    "model": ClipOut,
    "description": "The clip now has these bytes. PATCH the clip to change its fields.",
    "headers": _IGNORED,
}
_REFUSED = problems(
    *REFUSALS,
    MalformedRequest,
    DigestMismatch,
    PartialUpload,
    UploadStalled,
    TooLarge,
    UnsupportedMedia,
    UnsupportedContentType,
    UnsupportedContentEncoding,
    UnreadableMedia,
    MissingFile,
    InvalidRequest,
    RemoteRefused,
    InsufficientStorage,
    BlobDamaged,
    Unavailable,
)
_ANSWERS: dict[int | str, dict[str, Any]] = {200: _KNOWN, **_REFUSED, **problems(ExternalIdTaken)}
_OWN = ("external_id", "metadata")
_FILE_BODY: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary"},
                **{name: {"type": "string"} for name in (*TEXTS, *_OWN)},
                **{name: {"type": "integer"} for name in NUMBERS},
            },
        }
    }
}
_RAW_BODY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "audio/*": {"schema": {"type": "string", "format": "binary"}},
}
_QUERY: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 0} if name in NUMBERS else {"type": "string"},
        "description": "For a raw body or a form; a form field of the same name wins.",
    }
    for name in ("filename", *TEXTS, *NUMBERS, *_OWN)
]
_JSON_BODY: dict[str, Any] = {"application/json": {"schema": {"$ref": "#/components/schemas/ExternalClipIn"}}}


@router.post(
    "/play",
    status_code=201,
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Add a clip: a file, or metadata and an external audio_url",
    responses=_ANSWERS,
    openapi_extra={
        "parameters": _QUERY,
        "requestBody": {"required": True, "content": _JSON_BODY | _FILE_BODY | _RAW_BODY},
    },
)
async def add_clip(request: Request, rt: Rt, links: Links) -> Response:
    essence = essence_of(request.headers.get("content-type", ""))
    if essence == "application/json" or essence.endswith("+json"):
        refuse_unknown(request, ())
        given = parsed(ExternalClipIn, await small_body(request, rt))
        facts = given.model_dump(exclude={"audio_url"})
        clip, created = await catalog.add_external(rt, url=given.audio_url, **facts)
        request.scope[CLIP] = str(clip.id)
        if not created:
            said = {name: facts[name] for name in ("external_id", *TEXTS, *NUMBERS)}
            return _duplicate_answer(clip, links, Hints(**said, metadata=facts["metadata"]))
        return clip_response(clip, links, HTTPStatus.CREATED)
    return await _upload(request, rt, links)


async def upload_clip(request: Request, rt: Rt, links: Links) -> Response:
    return await _upload(request, rt, links)


for _method in ("POST", "PUT"):
    router.add_api_route(
        "/play/upload",
        upload_clip,
        methods=[_method],
        status_code=201,
        response_model=ClipOut,
        dependencies=WITH_KEY,
        summary="Upload a file, as a form or as the raw body",
        operation_id=f"upload_clip_{_method.lower()}",
        responses=_ANSWERS,
        openapi_extra={
            "parameters": _QUERY,
            "requestBody": {"required": True, "content": _FILE_BODY | _RAW_BODY},
        },
    )
# `curl -T song.mp3 …/play/upload/` adds the name of the file to the path; it may have an encoded slash.
router.add_api_route(
    "/play/upload/{file_name:path}",
    upload_clip,
    methods=["PUT"],
    status_code=201,
    response_model=ClipOut,
    dependencies=WITH_KEY,
    openapi_extra={"parameters": _QUERY},
    include_in_schema=False,
)


@router.put(
    "/play/{clip_id}/audio",
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Replace the bytes of a clip; its id, plays and fields stay",
    responses={200: _REPLACED, **_REFUSED, **problems(ClipNotFound, PreconditionFailed, BytesTaken)},
    openapi_extra={
        "parameters": _QUERY,
        "requestBody": {"required": True, "content": _FILE_BODY | _RAW_BODY},
    },
)
async def replace_audio(request: Request, clip_id: ClipId, rt: Rt, links: Links) -> Response:
    conditions = preconditions_of(request)
    await replace.check_replaceable(rt, clip_id, conditions)
    async with receive_upload(request, rt, takes_fields=False) as received:
        clip = await replace.replace_audio(
            rt, clip_id, received.staged, received.hints, conditions, sender_of(rt, request.scope)
        )
    return _with_ignored(clip_response(clip, links, HTTPStatus.OK), received.hints.not_taken(clip))


async def _upload(request: Request, rt: Runtime, links: Urls) -> Response:
    if waits_for_continue(request) and (digest := declared_digest(request)) is not None:
        # The client has not sent the body yet, and need not if its bytes exist already.
        existing = await catalog.find_by_sha256(rt, digest)
        if existing is not None and await has_bytes(rt, existing):
            rt.metrics.uploads.ended("duplicate", 0)
            request.scope[CLIP] = str(existing.id)
            return _duplicate_answer(existing, links, raw_hints(request))
    size, started = 0, perf_counter()
    try:
        async with receive_upload(request, rt) as received:
            size = received.staged.size
            clip, created = await ingest(rt, received.staged, received.hints, sender_of(rt, request.scope))
    except MosicError as error:
        rt.metrics.uploads.ended(error.code, size)
        raise
    except Exception:
        rt.metrics.uploads.ended(InternalError.code, size)
        raise
    rt.metrics.uploads.ended("created" if created else "duplicate", size, perf_counter() - started)
    request.scope[CLIP] = str(clip.id)
    if not created:
        return _duplicate_answer(clip, links, received.hints)
    return clip_response(clip, links, HTTPStatus.CREATED)


def _duplicate_answer(clip: Clip, links: Urls, hints: Hints) -> Response:
    answer = clip_response(clip, links, HTTPStatus.OK)
    answer.headers["Location"] = links.clip_path(clip.id)
    return _with_ignored(answer, hints.not_taken(clip))


def _with_ignored(answer: Response, ignored: tuple[str, ...]) -> Response:
    if ignored:
        answer.headers[IGNORED_FIELDS] = ", ".join(ignored)
    return answer
