"""What the server refuses below the application, and `OPTIONS *`, over raw sockets."""

from __future__ import annotations

import json

import pytest

from tests.support.exchange import first_answer
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav

HOST = b"Host: mosic.test\r\n"
CLOSE = b"Connection: close\r\n"
PUT = b"PUT /play/upload/a.wav HTTP/1.1\r\n" + HOST + b"X-API-Key: %s\r\n" % KEY.encode()


async def refused(service: Service, request: bytes, status: int, code: str) -> None:
    raw = await service.raw(request)
    answer, rest = first_answer(raw, to_head=request.startswith(b"HEAD "))
    assert (answer.status, rest) == (status, b""), request
    assert answer.fields["connection"] == "close"
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.fields["x-request-id"]
    if not request.startswith(b"HEAD "):
        assert json.loads(answer.body)["code"] == code


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        HOST * 2,
        b"Host: a\r\nhost: b\r\n",
        b"Host: a b\r\n",
        b"Host: [::1\r\n",
        b"Host:\r\n",
        b"Host: a:b\r\n",
        b"Host: user@a\r\n",
        b"Host: a/b\r\n",
        b"Host: caf\xc3\xa9\r\n",
    ],
)
@pytest.mark.parametrize(
    "line", [b"GET /health HTTP/1.1", b"GET http://a/health HTTP/1.1", b"HEAD /play HTTP/1.1"]
)
async def test_a_request_without_one_valid_host_is_refused(
    service: Service, line: bytes, lines: bytes
) -> None:
    # RFC 9112 §3.2
    await refused(service, line + b"\r\n" + lines + b"\r\n", 400, "malformed-request")


@pytest.mark.parametrize("white", [b" ", b"\t", b" \t \t", b"  "])
async def test_white_space_around_a_value_is_no_part_of_it(service: Service, white: bytes) -> None:
    # RFC 9110 §5.5
    def around(line: bytes) -> bytes:
        name, value = line.split(b": ")
        return name + b":" + white + value + white + b"\r\n"

    lines = (b"Host: mosic.test:81", b"X-API-Key: " + KEY.encode(), b"Content-Type: application/json")
    sent = b"".join(map(around, (*lines, b"Content-Length: 2", b"Connection: close")))
    raw = await service.raw(
        b"PATCH /play/0193a000-0000-7000-8000-000000000000 HTTP/1.1\r\n" + sent + b"\r\n{}"
    )
    assert raw.startswith(b"HTTP/1.1 404 "), raw

    upload = (
        around(b"X-API-Key: " + KEY.encode()) + around(b"Expect: 100-continue") + b"Content-Length: 5\r\n"
    )
    raw = await service.raw(PUT.replace(b"X-API-Key", b"X-No") + upload + CLOSE + b"\r\nhello")
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n"), raw

    await service.http.post("/play/upload", content=wav(0.5), headers=AUTH)
    clip = (await service.http.get("/play")).json()[0]
    part = around(b"Host: mosic.test") + around(b"Range: bytes=0-1") + around(b"Connection: close")
    path = f"/play/{clip['id']}/stream".encode()
    raw = await service.raw(b"GET " + path + b" HTTP/1.1\r\n" + part + b"\r\n")
    assert raw.startswith(b"HTTP/1.1 206 ")


async def test_a_target_of_8000_bytes_is_answered(service: Service) -> None:  # RFC 9112 §3
    request = b"GET /openapi.json?%s HTTP/1.1\r\n" % (b"a" * 8000)
    assert (await service.raw(request + HOST + CLOSE + b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_http_1_0_without_host_is_answered(service: Service) -> None:
    assert (await service.raw(b"GET /health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_urls_have_the_authority_of_an_absolute_target(service: Service) -> None:  # RFC 9112 §3.2.2
    await service.http.post("/play/upload", content=wav(0.5), headers=AUTH)
    request = b"GET http://other.test:81/play?limit=1 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    answer, _ = first_answer(await service.raw(request), to_head=False)
    (clip,) = json.loads(answer.body)
    assert clip["stream_url"].startswith("http://other.test:81/play/")


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (b"GET ftp://a/health HTTP/1.1", 400, "malformed-request"),
        (b"GET http:///health HTTP/1.1", 400, "malformed-request"),
        (b"GET http://u:p@a/health HTTP/1.1", 400, "malformed-request"),
        (b"GET /health?a=%s HTTP/1.1" % (b"a" * 8192), 414, "target-too-long"),
        (b"GET /%s HTTP/1.1" % (b"%" * 60_000), 414, "target-too-long"),
        (b"GET http://a/%s HTTP/1.1" % (b"a" * 8192), 414, "target-too-long"),
        (b"GET * HTTP/1.1", 400, "malformed-request"),
        (b"GET /health HTTP/0.9", 505, "http-version-not-supported"),
        (b"GET /health", 505, "http-version-not-supported"),
        (b"GET /health HTTP/2.0", 505, "http-version-not-supported"),
        (b"GET /health HTTP/3.0", 505, "http-version-not-supported"),
        (b"PRI * HTTP/2.0", 505, "http-version-not-supported"),
        (b"GET /health RTSP/1.0", 505, "http-version-not-supported"),
        (b"GET /health HTTP/1.10", 400, "malformed-request"),
        (b"GET /health http/1.1", 400, "malformed-request"),
        (b"FOO /health HTTP/1.1", 501, "method-not-implemented"),
        (b"get /health HTTP/1.1", 501, "method-not-implemented"),
        (b"GETS /health HTTP/1.1", 501, "method-not-implemented"),
        (b"PROPFIND /play HTTP/1.1", 501, "method-not-implemented"),
        (b"CONNECT a:80 HTTP/1.1", 501, "method-not-implemented"),
        (b"G\0T /health HTTP/1.1", 400, "malformed-request"),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
async def test_request_lines_that_are_refused(
    service: Service, line: bytes, status: int, code: str, behind: bool
) -> None:
    request = line + b"\r\n" + HOST + b"\r\n"
    if not behind:
        await refused(service, request, status, code)
    elif b"RTSP" not in line:
        raw = await service.raw(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n" + request)
        first, raw = first_answer(raw, to_head=False)
        second, raw = first_answer(raw, to_head=False)
        assert (first.status, second.status, raw) == (200, status, b"")


async def test_a_higher_minor_version_is_answered_in_1_1(service: Service) -> None:  # RFC 9110 §2.5
    request = b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n"
    raw = await service.raw(request + request.replace(HOST, HOST + CLOSE))
    assert raw.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("target", [b"*", b"http://mosic.test"])
async def test_options_of_the_service(service: Service, target: bytes) -> None:  # RFC 9110 §9.3.7
    request = b"OPTIONS %s HTTP/1.1\r\n" % target + HOST + CLOSE + b"\r\n"
    answer, rest = first_answer(await service.raw(request), to_head=False)
    assert (answer.status, rest) == (204, b"")
    assert answer.fields["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@pytest.mark.parametrize(
    ("codings", "status", "code"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n", 501, "transfer-coding-not-implemented"),
        (
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            501,
            "transfer-coding-not-implemented",
        ),
        (b"Transfer-Encoding: identity\r\n", 501, "transfer-coding-not-implemented"),
        (b"Transfer-Encoding: identity, chunked\r\n", 501, "transfer-coding-not-implemented"),
        (b"Transfer-Encoding: xchunked\r\n", 501, "transfer-coding-not-implemented"),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400, "malformed-request"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400, "malformed-request"),
    ],
)
async def test_other_transfer_codings_are_refused(
    service: Service, codings: bytes, status: int, code: str
) -> None:  # RFC 9112 §6.1
    before = service.files()
    await refused(service, PUT + codings + b"\r\n3\r\nabc\r\n0\r\n\r\n", status, code)
    assert service.files() == before


async def test_chunked_in_http_1_0_is_refused(service: Service) -> None:  # RFC 9112 §6.1
    request = PUT.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    await refused(service, request, 400, "malformed-request")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip", "aws-chunked"])
@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/play/upload/a.wav", {}),
        ("POST", "/play/upload", {"Content-Type": "audio/wav"}),
        ("POST", "/play/upload", {"Content-Type": "multipart/form-data; boundary=b"}),
        ("POST", "/play", {"Content-Type": "application/json"}),
        ("PATCH", "/play/01935b7e-0000-7000-8000-000000000000", {"Content-Type": "application/json"}),
        ("POST", "/play/uploads", {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}),
    ],
)
async def test_encoded_content_is_refused(
    service: Service, method: str, path: str, headers: dict[str, str], coding: str
) -> None:  # RFC 9110 §15.5.16
    before = service.files()
    answer = await service.http.request(
        method, path, content=b"{}", headers={**AUTH, **headers, "Content-Encoding": coding}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-content-encoding")
    assert answer.headers["accept-encoding"] == "identity"
    assert service.files() == before


async def test_an_append_of_encoded_content_leaves_the_upload_as_it_was(service: Service) -> None:
    tus = {**AUTH, "Tus-Resumable": "1.0.0"}
    made = await service.http.post("/play/uploads", headers={**tus, "Upload-Length": "9"})
    more = {
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Encoding": "gzip",
    }
    answer = await service.http.patch(made.headers["location"], content=b"abc", headers={**tus, **more})
    assert answer.status_code == 415
    stands = await service.http.head(made.headers["location"], headers=tus)
    assert stands.headers["upload-offset"] == "0"


@pytest.mark.parametrize("coding", ["identity", ""])
async def test_content_as_it_is_is_taken(service: Service, coding: str) -> None:
    headers = {**AUTH, "Content-Encoding": coding}
    content = wav(0.5, seed=1 + len(coding))
    answer = await service.http.put("/play/upload/a.wav", content=content, headers=headers)
    assert answer.status_code == 201
