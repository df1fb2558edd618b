"""`/play/top` and `/play/{id}/stats`: what was played, and when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import TypeAdapter

from mosic.core import played
from mosic.core.played import MOST_DAYS
from mosic.core.top import MOST_TOP
from mosic.errors import ClipNotFound, InvalidRequest, Unavailable
from mosic.web.deps import ClipId, Links, Rt
from mosic.web.errors import problems
from mosic.web.responses import json_response
from mosic.web.routes.reads import readable
from mosic.web.schemas import ClipOut, PlayedOut, Stats

router = APIRouter(tags=["clips"], responses=problems(Unavailable))
_PLAYED = TypeAdapter(list[PlayedOut])
_FRESH = {"Cache-Control": "no-cache"}


@readable(
    router,
    "/play/top",
    response_model=list[PlayedOut],
    summary="The clips that were played most in the last days",
    responses=problems(InvalidRequest),
)
async def get_top(
    rt: Rt,
    links: Links,
    days: Annotated[
        int, Query(ge=1, le=MOST_DAYS, description="The last days (UTC), today included.", examples=[7])
    ] = 7,
    limit: Annotated[int, Query(ge=1, le=MOST_TOP, description="Most clips.", examples=[10])] = 10,
) -> Response:
    found = await played.top(rt, asked=days, limit=limit)
    shown = [PlayedOut(plays=one.plays, clip=ClipOut.of(one.clip, links)) for one in found]
    return json_response(_PLAYED.dump_json(shown), headers=_FRESH)


@readable(
    router,
    "/play/{clip_id}/stats",
    response_model=Stats,
    summary="How often and when a clip was played",
    responses=problems(ClipNotFound, InvalidRequest),
)
async def get_stats(
    clip_id: ClipId,
    rt: Rt,
    links: Links,
    days: Annotated[
        int | None,
        Query(
            ge=1,
            le=MOST_DAYS,
            description="Also the plays of each of the last days (UTC), at most as many as are kept "
            "(MOSIC_DAILY_PLAYS_DAYS).",
            examples=[30],
        ),
    ] = None,
) -> Response:
    clip, daily = await played.stats(rt, clip_id, days)
    stats = Stats.of(clip, links, daily)
    body = stats.model_dump_json(exclude={"daily"} if daily is None else None)
    return json_response(body.encode(), headers=_FRESH)
