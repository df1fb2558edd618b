"""What is spoken, and by whom: OPTIONS, the version and the key of every verb, the overriding method."""

from __future__ import annotations

import re

import pytest

from tests.support.service import AUTH
from tests.support.tus import (
    NOBODY,
    OCTETS,
    UPLOADS,
    VERSION,
    Tus,
    fresh,
)

# Core protocol: OPTIONS


@pytest.mark.parametrize("path", [UPLOADS, f"{UPLOADS}/", NOBODY, "/clips/uploads", "/api/v1/clips/uploads"])
async def test_options_tells_what_is_spoken_to_everybody(tus: Tus, path: str) -> None:
    answer = await tus.bare("OPTIONS", path, tus_resumable="0.2.2")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "expiration",
        "termination",
    }
    assert answer.headers["Tus-Checksum-Algorithm"].split(",") == ["sha1", "sha256"]
    assert int(answer.headers["Tus-Max-Size"]) == tus.service.settings.max_upload_bytes


# The version and the key, of every verb


VERBS = [("POST", UPLOADS), ("HEAD", NOBODY), ("PATCH", NOBODY), ("DELETE", NOBODY), ("GET", NOBODY)]


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "1.0.0, 1.0.0"])
@pytest.mark.parametrize(("method", "path"), VERBS[:-1])
async def test_another_version_is_refused(tus: Tus, method: str, path: str, version: str | None) -> None:
    headers = {**AUTH, "Upload-Length": "5", "Upload-Offset": "0", **OCTETS}
    if version is not None:
        headers["Tus-Resumable"] = version
    answer = await tus.service.http.request(method, path, headers=headers)
    assert answer.status_code == 412
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Location" not in answer.headers


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize(("method", "path"), VERBS)
async def test_no_verb_without_the_key(tus: Tus, method: str, path: str, key: str | None) -> None:
    fields = {} if key is None else {"X-API-Key": key}
    answer = await tus.bare(method, path, upload_length="5", **VERSION, **fields)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "ApiKey"


async def test_the_key_is_checked_before_the_body_is_read(tus: Tus) -> None:
    """The answer comes while the sender still holds its body back, and no «100 Continue» before it."""
    head = (
        f"PATCH {NOBODY} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000000\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    answer = await tus.service.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_who_may_write_is_told_to_go_on(tus: Tus) -> None:
    url = await tus.create(5)
    request = tus.partial(url, declared=5, extra="Expect: 100-continue\r\n")
    await request.begin()
    assert await request.reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    await request.abort()


# X-HTTP-Method-Override


async def test_the_overriding_method_counts(tus: Tus) -> None:
    audio = fresh()
    url = await tus.create(len(audio))
    answer = await tus.send("POST", url, audio, x_http_method_override="PATCH", upload_offset="0", **OCTETS)
    assert answer.status_code == 204
    looked = await tus.send("POST", url, x_http_method_override="HEAD")
    assert looked.headers["Upload-Offset"] == str(len(audio))
    assert (await tus.send("GET", url, x_http_method_override="DELETE")).status_code == 204
    refused = await tus.send("POST", url, x_http_method_override="GET")
    assert refused.json()["code"] == "upload-not-found"
    assert (await tus.send("POST", url, x_http_method_override="BREW")).status_code == 405


# Where the Location leads


@pytest.mark.parametrize("prefix", ["/play", "/clips", "/api/v1/clips"])
async def test_the_location_is_absolute_and_keeps_the_prefix(tus: Tus, prefix: str) -> None:
    answer = await tus.send("POST", f"{prefix}/uploads/", upload_length="5")
    assert re.fullmatch(rf"{tus.service.url}{prefix}/uploads/[0-9a-f-]{{36}}", answer.headers["Location"])
    assert await tus.offset(answer.headers["Location"]) == 0
