"""A stream by the letter of RFC 9110 §13–§15, over a bare socket: exact status, exact fields, exact bytes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import URL

from mosic.postgres import EmbeddedPostgres
from tests.support.clips import ServedClip, add_clip
from tests.support.databases import empty_database, shown
from tests.support.exchange import Answer, exchange, first_answer, head
from tests.support.rfc9110 import (
    CONTENT,
    FIRST_FIVE,
    OUTSIDE,
    ROWS,
    UNCHANGED,
    WHOLE,
    Row,
    expected,
    observed,
    parts,
)
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

TRANSPORT = frozenset({"date", "connection", "server", "x-request-id"})


@pytest.fixture(scope="module")
async def clip(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServedClip]:
    """One for all rows, which only read."""
    media = tmp_path_factory.mktemp("rfc9110") / "media"
    async with empty_database(postgres) as url, running_service(media, url) as service:
        yield await add_clip(service)


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_row(clip: ServedClip, row: Row) -> None:
    answer = await clip.ask(row.method, *clip.validity.fill(row.lines))
    assert observed(answer, TRANSPORT) == expected(row, clip.validity)


async def test_head_has_the_fields_of_get(clip: ServedClip) -> None:  # §9.3.2
    def lasting(answer: Answer) -> dict[str, str]:
        return {name: value for name, value in answer.fields.items() if name not in ("date", "x-request-id")}

    for lines in ((), ("If-None-Match: *",), ('If-Match: "x"',)):
        assert lasting(await clip.ask("HEAD", *lines)) == lasting(await clip.ask("GET", *lines))


async def test_answers_follow_each_other_on_one_connection(clip: ServedClip) -> None:
    """Where an answer ends is where its head says: nothing of one is taken for the next (RFC 9112 §6.3)."""
    wanted = [
        Row("14.2", ("Range: bytes=0-4",), FIRST_FIVE),
        Row("9.3.2", (), WHOLE, "HEAD"),
        Row("13.1.2", ("If-None-Match: *",), UNCHANGED),
        Row("15.3.7.2", ("Range: bytes=10-14,0-4",), parts((10, 14), (0, 4))),
        Row("15.5.17", ("Range: bytes=-0",), OUTSIDE),
        Row("9.3.1", (), WHOLE),
    ]
    requests = [head(row.method, clip.path, *row.lines, closing=row is wanted[-1]) for row in wanted]
    reader, writer = await asyncio.open_connection("127.0.0.1", clip.service.port)
    writer.write(b"".join(requests))
    received = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    for row in wanted:
        answer, received = first_answer(received, to_head=row.method == "HEAD")
        assert observed(answer, TRANSPORT) == expected(row, clip.validity)
    assert received == b""


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1.wav", "a\nb.wav", "\u202egpj.wav", "\0.wav", "x" * 5000, "/etc/x"]
)
async def test_a_file_name_stays_within_its_field(service: Service, name: str) -> None:  # RFC 6266
    target = f"/play/upload?filename={quote(name)}"
    facts = (await service.http.post(target, content=CONTENT, headers=AUTH)).json()
    answer = await exchange(service.port, head("GET", f"/play/{facts['id']}/stream"))
    assert answer.body == CONTENT
    assert "x-evil" not in answer.fields
    value = answer.fields["content-disposition"]
    assert re.fullmatch(
        r"""inline; filename="[ -!#-.0-\[\]-~]+\.wav"; filename\*=UTF-8''[!#-.0-~]+\.wav""", value
    )
    assert len(value) < 2000


async def test_preconditions_do_not_hide_another_refusal(clip: ServedClip) -> None:  # §13.2.1
    conditions = (
        "If-Match: *",
        'If-Match: "x"',
        "If-None-Match: *",
        f"If-Modified-Since: {clip.validity.date}",
    )
    for method, path, status in (
        ("GET", f"/play/{uuid4()}/stream", 404),
        ("HEAD", f"/play/{uuid4()}/stream", 404),
        ("GET", "/play/no-uuid/stream", 404),
        ("POST", clip.path, 405),
        ("DELETE", clip.path, 405),
    ):
        for line in conditions:
            answer = await exchange(clip.service.port, head(method, path, line, "Range: bytes=0-4"))
            assert answer.status == status
            assert "content-range" not in answer.fields


async def test_if_none_match_that_fails_on_a_change_is_412(service: Service) -> None:  # §13.1.2
    clip = (await service.http.post("/play/upload", content=CONTENT, headers=AUTH)).json()
    path = f"/play/{clip['id']}"
    etag = (await service.http.get(path)).headers["etag"]
    for line in (f"If-None-Match: {etag}", "If-None-Match: *", f'If-None-Match: "x", W/{etag}'):
        answer = await exchange(service.port, head("DELETE", path, line, f"X-API-Key: {KEY}"))
        assert (answer.status, json.loads(answer.body)["code"]) == (412, "precondition-failed")
    assert (await exchange(service.port, head("GET", f"{path}/stream"))).body == CONTENT
    answer = await exchange(service.port, head("DELETE", path, 'If-None-Match: "x"', f"X-API-Key: {KEY}"))
    assert answer.status == 204


async def modified_and_date(port: int, clip_id: str, *lines: str) -> tuple[float, float]:
    answer = await exchange(port, head("GET", f"/play/{clip_id}/stream", *lines))
    assert answer.status in (200, 206)
    modified, date = (parsedate_to_datetime(answer.fields[name]) for name in ("last-modified", "date"))
    return modified.timestamp(), date.timestamp()


async def test_last_modified_is_never_later_than_date(service: Service) -> None:  # §8.8.2.1
    """Also right after the upload: the server's Date may be as old as its last tick."""
    for seed in range(12):
        content = wav(0.1, seed=seed)
        facts = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
        for line in ("Range: bytes=0-4", "Accept: */*"):
            modified, date = await modified_and_date(service.port, facts["id"], line)
            assert modified <= date
        await asyncio.sleep(0.1)


async def test_last_modified_in_the_future_is_replaced(tmp_path: Path, database_url: URL) -> None:  # §8.8.2.1
    """As when the database's clock goes ahead of the service's."""
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        facts = (await service.http.post("/play/upload", content=CONTENT, headers=AUTH)).json()
    maintenance = await asyncpg.connect(shown(database_url))
    await maintenance.execute("UPDATE clips SET created_at = now() + interval '1 day'")
    await maintenance.close()
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        modified, date = await modified_and_date(service.port, facts["id"])
        assert date - 10 <= modified <= date
        head_lines = ("Range: bytes=0-4", f'If-Range: "{facts["sha256"]}"')
        answer = await exchange(service.port, head("GET", f"/play/{facts['id']}/stream", *head_lines))
        assert (answer.status, answer.body) == (206, CONTENT[:5])


# What no parser can take for a request is refused by the HTTP server below; it must be refused, and only so.
ODD = [
    b"GET %s HTTP/1.1\r\nHost: x\r\nRange : bytes=0-4\r\n\r\n",  # RFC 9112 §5.1: a space before the colon
    b"GET %s HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\n 4\r\n\r\n",  # RFC 9112 §5.2: obsolete folding
    b"GET %s HTTP/1.1\r\nHost: x\r\nRange: bytes=0-4\0\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde",
    b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1180591620717411303424\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: x\r\nRange: bytes=0-4\r\nConnection: close\r\nX: \xff\xfe\r\n\r\n",
    b"GET %s HTTP/1.0\r\nRange: bytes=0-4\r\n\r\n",
    b"GET %s HTTP/1.1\r\nConnection: close\r\n" + b"If-None-Match: \"x\"\r\n" * 500 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("template", ODD)
async def test_odd_requests_are_no_fault_of_the_service(clip: ServedClip, template: bytes) -> None:
    request = template.replace(b"%s", clip.path.encode())
    answer = await exchange(clip.service.port, request)
    assert answer.status in (200, 206, 400)
    assert answer.status == 400 or answer.body in (CONTENT, CONTENT[:5])


@pytest.mark.parametrize(
    "length", ["-1", "5, 5", "5\r\nContent-Length: 5", "5\r\nContent-Length: 6", str(2**70)]
)
async def test_odd_length_of_an_upload_is_refused_at_once(clip: ServedClip, length: str) -> None:  # §8.6
    """Not a byte of the body is sent: whoever waited for it would not answer."""
    before = clip.service.files()
    lines = (f"X-API-Key: {KEY}", "Content-Type: audio/wav", f"Content-Length: {length}")
    answer = await exchange(clip.service.port, head("POST", "/play/upload", *lines), timeout=60)
    assert answer.status in (400, 413)
    assert clip.service.files() == before


async def test_too_large_an_upload_is_refused_before_it_is_sent(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), max_upload_mb=1) as service:
        lines = (f"X-API-Key: {KEY}", "Content-Type: audio/wav", f"Content-Length: {2**20 + 1}")
        expecting = (*lines, "Expect: 100-continue")
        answer = await exchange(service.port, head("POST", "/play/upload", *expecting), timeout=60)
        assert (answer.status, json.loads(answer.body)["code"]) == (413, "too-large")  # §15.5.14
        assert answer.fields["connection"] == "close"
