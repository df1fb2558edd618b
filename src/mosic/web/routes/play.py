"""`/play`: list, get, edit, remove."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.responses import Response as PlainResponse

from mosic.core import catalog
from mosic.core import trash as trashed_clips
from mosic.core.works.asking import works_of
from mosic.errors import (
    ClipNotFound,
    ExternalIdTaken,
    InvalidRequest,
    MalformedRequest,
    PreconditionFailed,
    TooLarge,
    Unavailable,
    UnsupportedContentEncoding,
    UploadStalled,
)
from mosic.web.auth import REFUSALS, WITH_KEY, require_key
from mosic.web.deps import ClipId, Links, Rt, preconditions_of
from mosic.web.errors import problems
from mosic.web.filtering import METADATA_PARAMETER, ListParameters, metadata_of
from mosic.web.responses import clip_response, json_response, parsed, small_body
from mosic.web.routes.reads import readable
from mosic.web.schemas import ClipEdit, ClipOut, WorkOut
from mosic.wire.cursor import next_link
from mosic.wire.dates import format_http_date
from mosic.wire.trash import RESTORABLE_UNTIL

router = APIRouter(tags=["clips"], responses=problems(Unavailable))
_CLIPS = TypeAdapter(list[ClipOut])
_WORKS = TypeAdapter(list[WorkOut])


@readable(
    router,
    "/play",
    response_model=list[ClipOut],
    summary="List and search clips",
    openapi_extra={"parameters": [METADATA_PARAMETER]},
    responses={
        200: {
            "headers": {
                "Link": {"schema": {"type": "string"}, "description": 'rel="next" leads to the next page.'},
                "X-Total-Count": {
                    "schema": {"type": "integer"},
                    "description": "Clips in all pages; left out for more than 10,000 clips, and for "
                    "more than 1,000 that a search finds.",
                },
            }
        },
        **problems(InvalidRequest, *REFUSALS),
    },
)
async def list_clips(
    request: Request, rt: Rt, links: Links, asked: Annotated[ListParameters, Query()]
) -> Response:
    if asked.trash:
        await require_key(request)
    filters = asked.filters(metadata=metadata_of(request), trashed=asked.trash)
    page = await catalog.list_clips(rt, filters, asked.order, limit=asked.limit, after=asked.place(filters))
    headers = {"Cache-Control": "no-cache"}
    if page.total is not None:
        headers["X-Total-Count"] = str(page.total)
    if page.end is not None:
        headers["Link"] = next_link(links.list(asked.following(filters, page.end)))
    return json_response(_CLIPS.dump_json([ClipOut.of(clip, links) for clip in page.clips]), headers=headers)


@readable(
    router, "/play/{clip_id}", response_model=ClipOut, summary="One clip", responses=problems(ClipNotFound)
)
async def get_clip(clip_id: ClipId, rt: Rt, links: Links) -> Response:
    return clip_response(await catalog.get_clip(rt, clip_id), links, HTTPStatus.OK)


@router.patch(
    "/play/{clip_id}",
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Edit the fields of a clip (JSON merge patch)",
    responses=problems(
        *REFUSALS,
        ClipNotFound,
        ExternalIdTaken,
        PreconditionFailed,
        InvalidRequest,
        MalformedRequest,
        TooLarge,
        UploadStalled,
        UnsupportedContentEncoding,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"$ref": "#/components/schemas/ClipEdit"}}
                for kind in ("application/merge-patch+json", "application/json")
            },
        }
    },
)
async def edit_clip(request: Request, clip_id: ClipId, rt: Rt, links: Links) -> Response:
    edit = parsed(ClipEdit, await small_body(request, rt))
    clip = await catalog.edit_clip(rt, clip_id, edit.changes(), preconditions_of(request))
    return clip_response(clip, links, HTTPStatus.OK)


@router.delete(
    "/play/{clip_id}",
    status_code=204,
    dependencies=WITH_KEY,
    summary="Move a clip to the trash, or remove it if there is no trash",
    responses=problems(*REFUSALS, ClipNotFound, PreconditionFailed),
)
async def remove_clip(request: Request, clip_id: ClipId, rt: Rt) -> Response:
    until = await catalog.remove_clip(rt, clip_id, preconditions_of(request))
    headers = {RESTORABLE_UNTIL: format_http_date(until)} if until else None
    return PlainResponse(status_code=204, headers=headers)


@router.post(
    "/play/{clip_id}/restore",
    response_model=ClipOut,
    dependencies=WITH_KEY,
    summary="Restore a clip from the trash",
    responses=problems(*REFUSALS, ClipNotFound),
)
async def restore_clip(clip_id: ClipId, rt: Rt, links: Links) -> Response:
    return clip_response(await trashed_clips.restore_clip(rt, clip_id), links, HTTPStatus.OK)


@readable(
    router,
    "/play/{clip_id}/works",
    response_model=list[WorkOut],
    summary="What is being learnt of a clip after its upload",
    responses=problems(ClipNotFound),
)
async def get_works(clip_id: ClipId, rt: Rt) -> Response:
    found = _WORKS.validate_python(await works_of(rt, clip_id))
    return json_response(_WORKS.dump_json(found), headers={"Cache-Control": "no-cache"})
