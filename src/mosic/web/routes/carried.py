"""`/play/{id}/chapters` and `/play/{id}/lyrics`: what the file of a clip carries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from starlette.responses import Response as PlainResponse

from mosic.core import carried
from mosic.errors import ClipNotFound, InvalidRequest, NoChapters, NoLyrics, Unavailable
from mosic.web.carried_schemas import ChaptersOut, LyricsOut
from mosic.web.deps import ClipId, Rt
from mosic.web.errors import problems
from mosic.web.responses import json_response
from mosic.web.routes.reads import readable
from mosic.wire.lrc import print_lrc, print_vtt

router = APIRouter(tags=["clips"], responses=problems(Unavailable))
_FRESH = {"Cache-Control": "no-cache"}
_CHAPTERS = "application/json+chapters"
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


@readable(
    router,
    "/play/{clip_id}/chapters",
    response_model=ChaptersOut,
    summary="The chapters that the file of a clip carries (Podcasting 2.0 JSON)",
    responses={
        200: {"content": {_CHAPTERS: {"schema": {"$ref": "#/components/schemas/ChaptersOut"}}}},
        **problems(ClipNotFound, NoChapters),
    },
)
async def get_chapters(clip_id: ClipId, rt: Rt) -> Response:
    body = ChaptersOut.of(await carried.chapters(rt, clip_id)).model_dump_json(exclude_none=True)
    return PlainResponse(body + "\n", headers=_FRESH, media_type=_CHAPTERS)


@readable(
    router,
    "/play/{clip_id}/lyrics",
    response_model=LyricsOut,
    summary="The lyrics that the file of a clip carries",
    responses={
        200: {
            "content": {
                "text/plain": {**_TEXT, "example": "[la:eng]\n[00:12.50]Row, row, row your boat\n"},
                "text/vtt": {
                    **_TEXT,
                    "example": "WEBVTT\n\n00:00:12.500 --> 00:00:16.000\nRow, row, row your boat\n",
                },
            }
        },
        **problems(ClipNotFound, InvalidRequest, NoLyrics),
    },
)
async def get_lyrics(
    clip_id: ClipId,
    rt: Rt,
    format: Annotated[
        Literal["json", "lrc", "vtt"],
        Query(
            description="`lrc`: LRC, plain lines where there are no times; `vtt`: WebVTT, which needs times."
        ),
    ] = "json",
) -> Response:
    clip, lyrics = await carried.lyrics(rt, clip_id)
    if format == "lrc":
        tags = [("ti", clip.title), ("ar", clip.artist or ""), ("la", lyrics.language or "")]
        return PlainResponse(print_lrc(lyrics, tags), headers=_FRESH, media_type="text/plain")
    if format == "vtt":
        if not lyrics.synced:
            raise InvalidRequest("These lyrics have no times, which WebVTT needs: ask for json or lrc.")
        return PlainResponse(print_vtt(lyrics, clip.duration), headers=_FRESH, media_type="text/vtt")
    return json_response(LyricsOut.model_validate(lyrics).model_dump_json().encode(), headers=_FRESH)
