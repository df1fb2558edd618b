"""The clips of a service: list, show, edit, delete, restore."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Unpack
from uuid import UUID

from yarl import URL

from mosic.client.failures import NotFound, ServiceFailed, TryAgain
from mosic.client.retrying import Retries, Wait
from mosic.client.service import RequestOptions, Response, Service, not_mosic
from mosic.wire.dates import parse_http_date
from mosic.wire.ids import parse_uuid
from mosic.wire.trash import RESTORABLE_UNTIL

Clip = Mapping[str, Any]
"""A clip as the service writes it."""

_LARGEST_PAGE = 500
_RETRIES = 8
_NEXT = re.compile(r'<([^>]*)>[^,<]*;\s*rel="?next"?')


class Clips(Service):
    """The methods raise what `request` raises."""

    def __init__(
        self, base: URL, api_key: str | None, *, waiting: Callable[[Wait], None] | None = None
    ) -> None:
        super().__init__(base, api_key)
        self._waiting = waiting

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Response:
        """As `Service.request`. Where `waiting` was given, a request that is refused for now with Retry-After
        is repeated after that time, and `waiting` is called before; what still fails after that raises
        `Failed` or `ServiceFailed`."""
        retries = Retries(self, _RETRIES)
        while True:
            retries.begin()
            try:
                return await super().request(method, path, **options)
            except TryAgain as failure:
                # Without Retry-After the request may have been done, and its response lost.
                if self._waiting is None or not failure.retry_after:
                    raise
                wait = retries.after(failure, progressed=False)
            self._waiting(wait)
            await asyncio.sleep(wait.seconds)

    async def pages(self, asked: Mapping[str, str], *, limit: int | None) -> AsyncIterator[list[Clip]]:
        """What the parameters `asked` mean, up to `limit`, as they come."""
        query = dict(asked)
        while limit is None or limit > 0:
            query["limit"] = str(min(limit or _LARGEST_PAGE, _LARGEST_PAGE))
            try:
                response = await self.request("GET", "play", query=query)
            except NotFound:
                raise self._no_clips() from None
            page = self._clips(response)
            yield page
            if limit is not None:
                limit -= len(page)
            following = _NEXT.search(response.headers.get("Link", ""))
            # Only its cursor: the key must not go to any URL but the one that the user gave.
            cursor = URL(following[1]).query.get("cursor") if following else None
            if not cursor or not page or cursor == query.get("cursor"):
                return
            query["cursor"] = cursor

    async def get(self, clip_id: UUID) -> Clip:
        return self._clip(await self.request("GET", f"play/{clip_id}"))

    async def top(self, *, days: int, limit: int) -> list[Mapping[str, Any]]:
        """`plays` and `clip` of those that were played most in the last days, the most played first."""
        response = await self.request("GET", "play/top", query={"days": str(days), "limit": str(limit)})
        try:
            found = json.loads(response.body)
            for one in found:
                _checked(one["clip"])
                int(one["plays"])
        except (ValueError, KeyError, TypeError):
            raise self._no_clips() from None
        return found  # type: ignore[no-any-return]

    async def edit(self, clip_id: UUID, patch: Mapping[str, Any]) -> Clip:
        """`patch` is a JSON merge patch (RFC 7396)."""
        response = await self.request(
            "PATCH",
            f"play/{clip_id}",
            headers={"Content-Type": "application/merge-patch+json"},
            body=json.dumps(patch).encode(),
        )
        return self._clip(response)

    async def remove(self, clip_id: UUID) -> datetime | None:
        """Until when it can be brought back; None: it cannot."""
        response = await self.request("DELETE", f"play/{clip_id}")
        return parse_http_date(response.headers.get(RESTORABLE_UNTIL, ""), now=datetime.now(UTC))

    async def restore(self, clip_id: UUID) -> Clip:
        return self._clip(await self.request("POST", f"play/{clip_id}/restore"))

    def _clip(self, response: Response) -> Clip:
        try:
            return _checked(json.loads(response.body))
        except (ValueError, KeyError, TypeError):
            raise self._no_clips() from None

    def _clips(self, response: Response) -> list[Clip]:
        try:
            found = json.loads(response.body)
            return [_checked(clip) for clip in found] if isinstance(found, list) else [_checked(found)]
        except (ValueError, KeyError, TypeError):
            raise self._no_clips() from None

    def _no_clips(self) -> ServiceFailed:
        return ServiceFailed(not_mosic(f"{self.shown}/play"))


def _checked(clip: Any) -> Clip:
    """What every clip has; raises `ValueError`, `KeyError` or `TypeError` where it does not."""
    parse_uuid(clip["id"])
    if not isinstance(clip["title"], str):
        raise TypeError
    return clip  # type: ignore[no-any-return]
