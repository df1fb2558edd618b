"""Pages for people, and `/openapi.json`: everything from this service, nothing that a page may not do."""

from __future__ import annotations

import gzip
import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from sqlalchemy import URL

from mosic.errors import all_errors
from tests.support.chromium import needs_chromium, running_chromium
from tests.support.databases import shown
from tests.support.exchange import exchange, head
from tests.support.service import Service, running_service

PROGRAMS = ["/docs", "/docs/", "/api/docs", "/redoc"]
TEXTS = ["/", "/docs/errors", "/docs/errors/"]


class Loaded(HTMLParser):
    """What a page loads, and what of it is written into the page itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.ids: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in_script = tag == "script"
        self.inline += [name for name in given if name.startswith("on")]
        self.ids += filter(None, [given.get("id")])
        self.urls += [
            given[name] or "" for name in ("src", "href", "spec-url", "data-document") if name in given
        ]

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.mark.parametrize("path", PROGRAMS + TEXTS)
async def test_pages_load_from_this_service_alone(service: Service, path: str) -> None:
    answer = await service.http.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    loaded = Loaded(answer.text)
    assert loaded.inline == []
    assert ("/openapi.json" if path in PROGRAMS else "/docs/assets/page.css") in loaded.urls
    assert "/favicon.ico" in loaded.urls
    assert len(loaded.urls) >= 3
    for url in loaded.urls:
        if url.removeprefix("#") in loaded.ids:
            continue
        assert re.fullmatch(r"/([a-z][a-z0-9./-]*)?", url), url
        found = await service.http.get(url)
        assert (found.status_code, found.headers["x-content-type-options"]) == (200, "nosniff"), url


@pytest.mark.parametrize("path", PROGRAMS + TEXTS)
async def test_what_a_page_may_do_is_said(service: Service, path: str) -> None:
    policy = dict(
        part.strip().split(" ", 1)
        for part in (await service.http.get(path)).headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    if path in PROGRAMS:
        assert policy["script-src"] == policy["connect-src"] == "'self'"
    else:
        assert not policy.keys() & {"script-src", "connect-src", "worker-src"}
        assert "unsafe" not in str(policy)
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for name, sources in policy.items():
        assert set(sources.split()) <= {"'self'", "'none'", "data:", "blob:", "'unsafe-inline'"}, name


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "docs.js"])
async def test_assets_with_and_without_compression(service: Service, name: str) -> None:
    url = f"/docs/assets/{name}"
    plain = await service.http.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith(("text/javascript", "text/css"))
    assert int(plain.headers["content-length"]) == len(plain.content)
    packed = await service.http.get(url, headers={"Accept-Encoding": "gzip, br"})
    assert packed.content == plain.content
    again = await service.http.get(url, headers={"If-None-Match": packed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await service.http.get(url, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "name", ["none.js", "packages.json", "..%2fdocs.html", "%2e%2e%2f__init__.py", "redoc.LICENSE"]
)
async def test_nothing_else_is_an_asset(service: Service, name: str) -> None:
    assert (await service.http.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_document_is_made_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await service.http.get("/openapi.json")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("mosic.web.routes.pages._document", fail)
    second = await service.http.get("/openapi.json")
    assert second.content == first.content
    unchanged = await service.http.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_below_a_path(tmp_path: Path, database_url: URL) -> None:
    """Pages, what they load, and where the routes are said to be carry the prefix of a trusted proxy."""
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        prefixed = {"X-Forwarded-Prefix": "/music"}
        for path in PROGRAMS + TEXTS:
            text = (await service.http.get(path, headers=prefixed)).text
            assert {url for url in Loaded(text).urls if not url.startswith(("/music/", "#"))} == set()
        document = (await service.http.get("/openapi.json", headers=prefixed)).json()
        assert document["servers"] == [{"url": "/music"}]
        plain = (await service.http.get("/openapi.json")).json()
        assert {**document, "servers": None} == {**plain, "servers": None}
        assert "servers" not in plain
        hostile = {"X-Forwarded-Prefix": '/"><script>x</script>'}
        for path in PROGRAMS + TEXTS:
            assert "<script>x" not in (await service.http.get(path, headers=hostile)).text


@pytest.mark.parametrize("closed", [False, True])
async def test_the_first_page_says_who_may_read(tmp_path: Path, database_url: URL, closed: bool) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=closed
    ) as service:
        page = await service.http.get("/")
        assert page.status_code == 200
        links = set(Loaded(page.text).urls)
        assert {"/docs", "/docs/errors"} <= links
        if closed:
            assert "needs an API key" in page.text
        else:
            assert "Anyone who can reach it may list" in page.text
        # It leads nowhere where a browser, which has no key, is refused.
        for url in links:
            assert (await service.http.get(url)).status_code == 200, url
            assert (await service.http.head(url)).status_code == 200, url


async def test_the_icon_is_one_and_is_kept(service: Service) -> None:
    found = await service.http.get("/favicon.ico")
    assert found.headers["content-type"] == "image/x-icon"
    assert re.fullmatch(r"public, max-age=[0-9]{4,}", found.headers["cache-control"])
    reserved, kind, count = struct.unpack_from("<HHH", found.content)
    assert (reserved, kind) == (0, 1)
    assert count >= 2
    for number in range(count):
        width, height, _, _, _, _, size, offset = struct.unpack_from(
            "<BBBBHHII", found.content, 6 + 16 * number
        )
        assert width == height
        assert len(found.content[offset : offset + size]) == size > 0
    again = await service.http.get("/favicon.ico", headers={"If-None-Match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == found.headers["cache-control"]


async def test_every_error_is_explained_where_its_type_leads(service: Service) -> None:
    answer = await service.http.get("/play/none")
    page = urljoin(str(answer.url), answer.json()["type"])
    text = (await service.http.get(page)).text
    ids = Loaded(text).ids
    assert urlsplit(page).fragment in ids
    assert sorted(ids) == sorted(error.code for error in all_errors())
    assert not re.search(r"\]\(|`", text), "Markdown is left"


ERRORS = {
    "route": head("GET", "/none"),
    "clip": head("GET", "/play/none"),
    "stream": head("GET", "/play/none/stream"),
    "key": head("POST", "/play/upload", "Content-Length: 0"),
    "host": head("GET", "/play").replace(b"Host: localhost", b"Host: evil.example"),
    "preflight": head(
        "OPTIONS", "/play", "Origin: https://evil.example", "Access-Control-Request-Method: POST"
    ),
}


@pytest.mark.parametrize("said_by", ["proxy", "setting"])
async def test_types_lead_below_a_path(tmp_path: Path, database_url: URL, said_by: str) -> None:
    """Whoever makes the error: a route, what is around routes; the server, where a setting has the path."""
    public_url = "https://music.example/music" if said_by == "setting" else None
    requests = ERRORS | ({"no HTTP": b"\0\r\n\r\n"} if public_url else {})
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        public_url=public_url,
        allowed_hosts=("music.example",),
        cors_origins=("https://app.example",),
    ) as service:
        for name, request in requests.items():
            added = b"X-Forwarded-Prefix: /music\r\n" if said_by == "proxy" else b""
            answer = await exchange(service.port, request.replace(b"\r\n", b"\r\n" + added, 1))
            problem = json.loads(answer.body)
            assert problem["type"] == f"/music/docs/errors#{problem['code']}", name


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(
    ("path", "drawn"), [("/docs", ".opblock-summary-path"), ("/redoc", "h1")], ids=["docs", "redoc"]
)
async def test_browser_without_a_network_draws_the_page(
    service: Service, tmp_path: Path, path: str, drawn: str
) -> None:
    async with running_chromium(tmp_path / "profile") as page:
        await page.open(service.url + path)
        text = await page.evaluate(
            f"""(async () => {{
                while (!document.querySelector({drawn!r})) await new Promise((next) => setTimeout(next, 50));
                return document.body.innerText;
            }})()"""
        )
        assert "Mosic" in text
        assert text.index("clips") < text.index("resumable uploads")
        answered = {
            event["params"]["response"]["url"]
            for event in page.events
            if event["method"] == "Network.responseReceived"
        }
    assert f"{service.url}/openapi.json" in answered
    assert all(url.startswith((service.url, "data:")) for url in answered), answered


def test_gzip_files_are_whole() -> None:
    folder = Path(__file__).resolve().parents[2] / "src/mosic/web/pages/vendor"
    packed = sorted(folder.glob("*.gz"))
    assert len(packed) == 3
    for path in packed:
        assert len(gzip.decompress(path.read_bytes())) > path.stat().st_size
