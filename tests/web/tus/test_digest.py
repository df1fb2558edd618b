"""Repr-Digest of an upload (RFC 9530), which is not part of tus."""

from __future__ import annotations

import pytest

from tests.support.tus import (
    OCTETS,
    UPLOADS,
    Tus,
    fresh,
    repr_digest,
)


@pytest.mark.parametrize("pieces", [1, 3])
async def test_declared_bytes_that_come_become_a_clip(tus: Tus, pieces: int) -> None:
    audio = fresh()
    url = await tus.create(len(audio), repr_digest=repr_digest(audio))
    size = -(-len(audio) // pieces)
    answers = [await tus.patch(url, at, audio[at : at + size]) for at in range(0, len(audio), size)]
    assert {answer.status_code for answer in answers} == {204}
    assert await tus.stream(answers[-1]) == audio


@pytest.mark.parametrize("pieces", [1, 3])
async def test_other_bytes_than_declared_are_refused_and_not_kept(tus: Tus, pieces: int) -> None:
    audio = fresh()
    url = await tus.create(len(audio), repr_digest=repr_digest(audio[:-1] + b"?"))
    size = -(-len(audio) // pieces)
    answers = [await tus.patch(url, at, audio[at : at + size]) for at in range(0, len(audio), size)]
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (400, "digest-mismatch")
    assert tus.files() == []
    assert await tus.clips(audio) == []
    assert (await tus.send("HEAD", url)).status_code == 400
    assert (await tus.patch(url, 0, audio)).json()["code"] == "digest-mismatch"


async def test_a_digest_with_the_whole_file(tus: Tus) -> None:
    audio = fresh()
    fields = {"upload_length": str(len(audio)), **OCTETS}
    wrong = await tus.send("POST", UPLOADS, audio, repr_digest=repr_digest(b""), **fields)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "digest-mismatch")
    assert tus.files() == []
    right = await tus.send("POST", UPLOADS, audio, repr_digest=repr_digest(audio), **fields)
    assert right.status_code == 201
    assert await tus.stream(right) == audio


async def test_a_digest_that_cannot_be_read(tus: Tus) -> None:
    answer = await tus.send("POST", UPLOADS, upload_length="5", repr_digest="sha-256=abc")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_other_methods_where_uploads_are_created(tus: Tus, method: str) -> None:
    answer = await tus.send(method, UPLOADS)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
