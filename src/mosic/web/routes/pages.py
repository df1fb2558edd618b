"""Pages for people: `/`, `/docs` and `/redoc` with `/openapi.json`, `/docs/errors`, and the files that they
load."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
from collections.abc import Mapping

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import HTMLResponse

from mosic.errors import NotFound
from mosic.web.deps import Links, Rt, preconditions_of
from mosic.web.pages import SECURITY_POLICY, STRICT_POLICY, asset, errors_as_html, icon, read_page
from mosic.web.routes.reads import readable
from mosic.web.urls import Urls
from mosic.wire.conditions import Validators, Verdict, evaluate
from mosic.wire.problem import ERROR_PAGE

_ICON_HEADERS = {"Cache-Control": "public, max-age=86400"}
_OPEN = "Anyone who can reach it may list and play the clips."
_CLOSED = "Listing and playing clips needs an API key or a signed URL."
_LIST = '<li><a href="{prefix}/play">Clips</a>, the newest first (JSON)</li>\n'


def pages_router(api: FastAPI) -> APIRouter:
    """The routes, for the document of `api`."""
    router = APIRouter(include_in_schema=False)
    document = b""

    @readable(router, "/openapi.json", any_parameters=True)
    async def openapi_document(request: Request, links: Links) -> Response:
        # Made once: it takes as long as thousands of ranges, and anybody may request it.
        nonlocal document
        document = document or await asyncio.to_thread(_document, api)
        content = document
        if links.prefix:
            # Below a path the URLs of the routes begin with that path.
            content = b'{"servers":%s,%s' % (json.dumps([{"url": links.prefix}]).encode(), document[1:])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Cache-Control": "no-cache"}
        return _revalidated(request, headers) or Response(
            content, media_type="application/json", headers=headers
        )

    @readable(router, "/docs", any_parameters=True)
    @readable(router, "/api/docs", any_parameters=True)
    async def show_docs(links: Links) -> Response:
        return await _page("docs", links, SECURITY_POLICY)

    @readable(router, "/redoc", any_parameters=True)
    async def show_redoc(links: Links) -> Response:
        return await _page("redoc", links, SECURITY_POLICY)

    @readable(router, "/", any_parameters=True)
    async def show_home(links: Links, rt: Rt) -> Response:
        closed = rt.settings.require_key_for_reads
        return await _page(
            "home", links, STRICT_POLICY, reads=_CLOSED if closed else _OPEN, list="" if closed else _LIST
        )

    @readable(router, ERROR_PAGE, any_parameters=True)
    async def show_errors(links: Links) -> Response:
        return await _page("errors", links, STRICT_POLICY, errors=await asyncio.to_thread(errors_as_html))

    @readable(router, "/favicon.ico", any_parameters=True)
    async def load_icon(request: Request) -> Response:
        found = await asyncio.to_thread(icon)
        headers = {**_ICON_HEADERS, "ETag": found.etag}
        return _revalidated(request, headers) or Response(
            found.content(), media_type=found.media_type, headers=headers
        )

    @readable(router, "/docs/assets/{name}", any_parameters=True)
    async def load_asset(request: Request, name: str) -> Response:
        found = await asyncio.to_thread(asset, name)
        if found is None:
            raise NotFound
        headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if (unchanged := _revalidated(request, headers)) is not None:
            return unchanged
        content = found.compressed
        if content is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        else:
            content = await asyncio.to_thread(found.content)
        return Response(content, media_type=found.media_type, headers=headers)

    return router


def _document(api: FastAPI) -> bytes:
    return f"{json.dumps(api.openapi(), separators=(',', ':'), ensure_ascii=False)}\n".encode()


async def _page(name: str, links: Urls, policy: str, **filled_in: str) -> Response:
    text = await asyncio.to_thread(read_page, name)
    for place, content in (*filled_in.items(), ("prefix", html.escape(links.prefix))):
        text = text.replace(f"{{{place}}}", content)
    return HTMLResponse(text, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def _revalidated(request: Request, headers: Mapping[str, str]) -> Response | None:
    """304 if the client has it already (RFC 9110 §13.1.2); `headers` are those of the full response."""
    conditions = preconditions_of(request)
    if evaluate(request.method, conditions, Validators(headers["ETag"], None)) is not Verdict.NOT_MODIFIED:
        return None
    kept = {name: headers[name] for name in ("ETag", "Cache-Control", "Vary") if name in headers}
    return Response(status_code=304, headers=kept)
