"""`multipart/form-data` as clients send it, and as it may be cut."""

from __future__ import annotations

import random
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosic.errors import MalformedRequest
from mosic.wire.multipart import MultipartReader, PartData
from tests.support.multipart import (
    BODY,
    BOUNDARY,
    CONTENT_TYPE,
    DELIMITER,
    FILE,
    PARTS,
    TITLE,
    TRAPS,
    cut,
    form,
    outcome,
    read,
)


def test_reads_fields_and_files() -> None:
    assert read([BODY]) == PARTS


def test_reads_what_the_standard_library_reads() -> None:
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + CONTENT_TYPE.encode() + b"\r\n\r\n" + BODY
    )
    assert [part.get_payload(decode=True) for part in message.iter_parts()] == [
        part.content for part in read([BODY])
    ]


def test_one_byte_at_a_time() -> None:
    assert read(BODY[at : at + 1] for at in range(len(BODY))) == PARTS


@pytest.mark.parametrize("size", [2, 3, 41, 42, 43, 44, 64])
def test_chunks_of_one_size(size: int) -> None:
    assert read(BODY[at : at + size] for at in range(0, len(BODY), size)) == PARTS


def test_every_cut_in_two() -> None:
    for at in range(len(BODY)):
        assert read(cut(BODY, [at])) == PARTS


@settings(deadline=None)
@given(st.lists(st.integers(0, len(BODY)), max_size=30))
def test_any_cut(places: list[int]) -> None:
    assert read(cut(BODY, places)) == PARTS


@settings(deadline=None)
@given(
    contents=st.lists(
        st.lists(
            st.sampled_from([b"\r", b"\n", b"-", b"--", DELIMITER[:9], DELIMITER[:-1], b"x"]), max_size=12
        ),
        min_size=1,
        max_size=4,
    ),
    data=st.data(),
)
def test_any_content_in_any_cut(contents: list[list[bytes]], data: st.DataObject) -> None:
    body = form(*((TITLE, b"".join(pieces)) for pieces in contents))
    places = data.draw(st.lists(st.integers(0, len(body)), max_size=20))
    assert [part.content for part in read(cut(body, places))] == [b"".join(pieces) for pieces in contents]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.lists(st.integers(0, len(BODY)), max_size=10))
def test_damaged_bodies_are_read_or_refused_alike_in_any_cut(seed: int, places: list[int]) -> None:
    dice = random.Random(seed)
    body = bytearray(BODY)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(body))
        body[at : at + dice.choice([0, 1, 3])] = dice.choice(
            [
                b"",
                b"\r",
                b"\n",
                b"\r\n",
                b"-",
                b":",
                b'"',
                b"\x00",
                b"\xff",
                b"; ",
                DELIMITER,
                DELIMITER + b"--",
                b" ",
            ]
        )
    damaged = bytes(body)
    whole = outcome([damaged])
    assert outcome(cut(damaged, [at for at in places if at <= len(damaged)])) == whole
    assert outcome(damaged[at : at + 1] for at in range(len(damaged))) == whole


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(body: bytes) -> None:
    assert outcome([body]) is None


def test_bytes_of_a_file_are_not_copied() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    head, chunk = BODY[: BODY.index(TRAPS)], bytes(100_000)
    reader.feed(head)
    (event,) = reader.feed(chunk)
    assert isinstance(event, PartData)
    assert event.data.obj is chunk
    assert len(event.data) == len(chunk)


def test_large_pieces_that_may_be_kept_are_read_alike() -> None:
    """They pass by the parser for the most part, wherever they begin and end around a boundary."""
    filling = TRAPS + bytes(70_000) + TRAPS
    body = form((FILE, filling), (TITLE, b"Song"), (FILE.replace(b"file", b"other", 1), filling))
    whole = read([body])
    assert [part.content for part in whole] == [filling, b"Song", filling]
    boundary = body.index(DELIMITER, len(filling))
    for at in range(boundary - 100, boundary + 200):
        assert read([bytearray(body[:at]), bytearray(body[at:])]) == whole
        start = at - boundary + 200
        assert read([body[:start], bytearray(body[start:at]), bytearray(body[at:])]) == whole


def test_a_large_piece_that_may_be_kept_is_not_copied() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(BODY[: BODY.index(TRAPS)])
    chunk = bytearray(1_000_000)
    data = [event.data for event in reader.feed(chunk) if isinstance(event, PartData)]
    kept = sum(len(view) for view in data if view.obj is chunk)
    assert kept > 0.99 * len(chunk)


def test_a_truncated_form_is_refused() -> None:
    for end in range(len(BODY) - len(b"\r\n")):
        reader = MultipartReader(CONTENT_TYPE)
        reader.feed(BODY[:end])
        with pytest.raises(MalformedRequest):
            reader.finish()


def test_an_empty_form_has_no_parts() -> None:
    assert read([b"--" + BOUNDARY.encode() + b"--\r\n"]) == []


def test_preamble_and_epilogue_are_skipped() -> None:
    body = b"This is a form.\r\nIn MIME --- format.\r\n" + BODY + b"bye\r\n" + BODY
    assert read([body]) == PARTS
    assert read(body[at : at + 1] for at in range(len(body))) == PARTS


def test_padding_after_a_boundary_is_not_content() -> None:
    """RFC 2046 §5.1.1, transport-padding."""
    body = BODY.replace(DELIMITER + b"\r\n", DELIMITER + b" \t \r\n")
    assert read([body]) == PARTS
    assert read(body[at : at + 1] for at in range(len(body))) == PARTS
