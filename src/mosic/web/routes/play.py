"""`/play`: list, add, get, edit, remove, stats."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import Response as PlainResponse

from mosic.core import catalog
from mosic.core.ingest import ingest
from mosic.core.runtime import Runtime
from mosic.db.clips import Clip
from mosic.errors import (
    ClipNotFound,
    DigestMismatch,
    InsufficientStorage,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MissingFile,
    MosicError,
    PreconditionFailed,
    RemoteRefused,
    TooLarge,
    Unavailable,
    UnreadableMedia,
    UnsupportedContentType,
    UnsupportedMedia,
    UploadStalled,
)
from mosic.web.arriving import waits_for_continue
from mosic.web.auth import REFUSALS, WITH_KEY
from mosic.web.body import declared_digest, receive_upload
from mosic.web.deps import ClipId, Links, Rt, fields_of
from mosic.web.errors import invalid_request, problems
from mosic.web.routes.reads import readable
from mosic.web.schemas import ClipEdit, ClipOut, ExternalClipIn, Stats
from mosic.web.urls import Urls
from mosic.wire.cursor import decode_cursor, encode_cursor, next_link

_Model = TypeVar("_Model", bound=BaseModel)

router = APIRouter(tags=["clips"], responses=problems(Unavailable))
_CLIPS = TypeAdapter(list[ClipOut])
_JSON_SIZE = 256 * 1024
_SORT = "-created_at"

_DUPLICATE: dict[int | str, dict[str, Any]] = {
    200: {"model": ClipOut, "description": "These bytes were there already."}
}
_UPLOAD_ANSWERS = _DUPLICATE | problems(
    *REFUSALS,
    MalformedRequest,
    DigestMismatch,
    UploadStalled,
    TooLarge,
    UnsupportedMedia,
    UnsupportedContentType,
    UnreadableMedia,
    MissingFile,
    InvalidRequest,
    RemoteRefused,
    InsufficientStorage,
    Unavailable,
)
_FILE_BODY: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary"},
                **{
                    name: {"type": "string"}
                    for name in ("title", "description", "artist", "album", "album_artist", "genre", "date")
                },
                "track_number": {"type": "integer"},
                "disc_number": {"type": "integer"},
            },
        }
    }
}
_RAW_BODY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "audio/*": {"schema": {"type": "string", "format": "binary"}},
}
_JSON_BODY: dict[str, Any] = {"application/json": {"schema": ExternalClipIn.model_json_schema()}}


@readable(
    router,
    "/play",
    response_model=list[ClipOut],
    summary="List clips, the newest first",
    responses={
        200: {
            "headers": {
                "Link": {"schema": {"type": "string"}, "description": 'rel="next" leads to the next page.'},
                "X-Total-Count": {"schema": {"type": "integer"}, "description": "Clips in all pages."},
            }
        },
        **problems(InvalidRequest),
    },
)
async def list_clips(
    request: Request,
    rt: Rt,
    links: Links,
    limit: Annotated[int, Query(ge=1, le=500, description="Clips on one page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=500, description="Opaque; from the Link of the page before.")
    ] = None,
    sha256: Annotated[
        str | None, Query(pattern="^[0-9A-Fa-f]{64}$", description="Only the clip with these bytes.")
    ] = None,
) -> Response:
    before = decode_cursor(cursor, _SORT, datetime)[1] if cursor else None
    digest = bytes.fromhex(sha256) if sha256 else None
    page = await catalog.list_clips(rt, limit=limit, before=before, sha256=digest)
    headers = {"X-Total-Count": str(page.total), "Cache-Control": "no-cache"}
    if page.next_before is not None:
        following = encode_cursor(_SORT, None, page.next_before)
        target = request.url.include_query_params(cursor=following)
        headers["Link"] = next_link(f"{links.base}/play?{target.query}")
    return _json(_CLIPS.dump_json([ClipOut.of(clip, links) for clip in page.clips]), headers=headers)


@router.post(
    "/play",
    status_code=201,
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Add a clip: a file, or metadata and an external audio_url",
    responses=_UPLOAD_ANSWERS,
    openapi_extra={"requestBody": {"required": True, "content": _JSON_BODY | _FILE_BODY | _RAW_BODY}},
)
async def add_clip(request: Request, rt: Rt, links: Links) -> Response:
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence == "application/json" or essence.endswith("+json"):
        given = _parsed(ExternalClipIn, await _small_body(request))
        facts = given.model_dump(exclude={"audio_url"})
        clip = await catalog.add_external(rt, url=given.audio_url, **facts)
        return _clip_answer(clip, links, HTTPStatus.CREATED)
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
        responses=_UPLOAD_ANSWERS,
        openapi_extra={"requestBody": {"required": True, "content": _FILE_BODY | _RAW_BODY}},
    )
# `curl -T song.mp3 …/play/upload/` adds the name of the file to the path.
router.add_api_route(
    "/play/upload/{file_name}",
    upload_clip,
    methods=["PUT"],
    status_code=201,
    response_model=ClipOut,
    dependencies=WITH_KEY,
    include_in_schema=False,
)


@readable(
    router, "/play/{clip_id}", response_model=ClipOut, summary="One clip", responses=problems(ClipNotFound)
)
async def get_clip(clip_id: ClipId, rt: Rt, links: Links) -> Response:
    return _clip_answer(await catalog.get_clip(rt, clip_id), links, HTTPStatus.OK)


@router.patch(
    "/play/{clip_id}",
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Edit the words about a clip (JSON merge patch)",
    responses=problems(*REFUSALS, ClipNotFound, PreconditionFailed, InvalidRequest, MalformedRequest),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": ClipEdit.model_json_schema()}
                for kind in ("application/merge-patch+json", "application/json")
            },
        }
    },
)
async def edit_clip(request: Request, clip_id: ClipId, rt: Rt, links: Links) -> Response:
    edit = _parsed(ClipEdit, await _small_body(request))
    clip = await catalog.edit_clip(rt, clip_id, edit.changes(), fields_of(request))
    return _clip_answer(clip, links, HTTPStatus.OK)


@router.delete(
    "/play/{clip_id}",
    status_code=204,
    dependencies=WITH_KEY,
    summary="Remove a clip and its bytes",
    responses=problems(*REFUSALS, ClipNotFound, PreconditionFailed),
)
async def remove_clip(request: Request, clip_id: ClipId, rt: Rt) -> Response:
    await catalog.remove_clip(rt, clip_id, fields_of(request))
    return PlainResponse(status_code=204)


@readable(
    router,
    "/play/{clip_id}/stats",
    response_model=Stats,
    summary="How often and when a clip was played",
    responses=problems(ClipNotFound),
)
async def get_stats(clip_id: ClipId, rt: Rt, links: Links) -> Response:
    stats = Stats.of(await catalog.get_clip(rt, clip_id), links)
    return _json(stats.model_dump_json().encode(), headers={"Cache-Control": "no-cache"})


async def _upload(request: Request, rt: Runtime, links: Urls) -> Response:
    if waits_for_continue(request) and (digest := declared_digest(request)) is not None:
        # The sender has not begun and need not, if its bytes are here already.
        existing = await catalog.find_by_sha256(rt, digest)
        if existing is not None:
            rt.metrics.upload_ended("duplicate", 0)
            return _clip_answer(existing, links, HTTPStatus.OK, location=True)
    size, started = 0, perf_counter()
    try:
        async with receive_upload(request, rt) as received:
            size = received.staged.size
            clip, created = await ingest(rt, received.staged, received.hints)
    except MosicError as error:
        rt.metrics.upload_ended(error.code, size)
        raise
    except Exception:
        rt.metrics.upload_ended(InternalError.code, size)
        raise
    rt.metrics.upload_ended("created" if created else "duplicate", size, perf_counter() - started)
    return _clip_answer(clip, links, HTTPStatus.CREATED if created else HTTPStatus.OK, location=True)


async def _small_body(request: Request) -> bytes:
    """A body that is to be JSON, bounded."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _JSON_SIZE:
            raise TooLarge(f"A JSON body may have {_JSON_SIZE} bytes.")
    return bytes(body)


def _parsed(model: type[_Model], body: bytes) -> _Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        if found[0]["type"] == "json_invalid":
            raise MalformedRequest("The body is not valid JSON.") from None
        raise invalid_request("body", found) from None


def _clip_answer(clip: Clip, links: Urls, status: HTTPStatus, *, location: bool = False) -> Response:
    headers = {"ETag": clip.etag, "Cache-Control": "no-cache"}
    if location or status is HTTPStatus.CREATED:
        headers["Location"] = links.clip_path(clip.id)
    return _json(ClipOut.of(clip, links).model_dump_json().encode(), status=status, headers=headers)


def _json(content: bytes, *, status: int = 200, headers: dict[str, str]) -> Response:
    return PlainResponse(content, status_code=status, headers=headers, media_type="application/json")
