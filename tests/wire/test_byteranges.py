"""Bodies of several parts, judged by RFC 9110 §14.6 and read back by another implementation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser, parse_options_header

from mosic.wire.byteranges import ByteRanges, frame
from mosic.wire.ranges import Slice


def body(framed: ByteRanges, file: bytes) -> bytes:
    parts = b"".join(head + file[piece.start : piece.stop] for head, piece in framed.parts)
    return parts + framed.closing


def test_the_framing_of_the_rfc() -> None:
    file = bytes(range(256)) * 40
    framed = frame([Slice(500, 1000), Slice(7000, 8000)], 8000, "application/pdf", "THIS_STRING_SEPARATES")
    expected = (
        b"--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 500-999/8000\r\n"
        b"\r\n" + file[500:1000] + b"\r\n"
        b"--THIS_STRING_SEPARATES\r\n"
        b"Content-Type: application/pdf\r\n"
        b"Content-Range: bytes 7000-7999/8000\r\n"
        b"\r\n" + file[7000:8000] + b"\r\n"
        b"--THIS_STRING_SEPARATES--\r\n"
    )
    assert body(framed, file) == expected
    assert framed.length == len(expected)
    assert framed.content_type == "multipart/byteranges; boundary=THIS_STRING_SEPARATES"


def read_back(content_type: str, received: bytes) -> list[tuple[dict[str, str], bytes]]:
    parts: list[tuple[dict[str, str], bytes]] = []
    name = value = b""
    ended = False

    def on_part_begin() -> None:
        parts.append(({}, b""))

    def on_header_field(data: bytes, start: int, end: int) -> None:
        nonlocal name
        name += data[start:end]

    def on_header_value(data: bytes, start: int, end: int) -> None:
        nonlocal value
        value += data[start:end]

    def on_header_end() -> None:
        nonlocal name, value
        parts[-1][0][name.decode().lower()] = value.decode()
        name = value = b""

    def on_part_data(data: bytes, start: int, end: int) -> None:
        parts[-1] = (parts[-1][0], parts[-1][1] + data[start:end])

    def on_end() -> None:
        nonlocal ended
        ended = True

    media_type, options = parse_options_header(content_type)
    assert media_type == b"multipart/byteranges"
    callbacks: Any = {
        "on_part_begin": on_part_begin,
        "on_header_field": on_header_field,
        "on_header_value": on_header_value,
        "on_header_end": on_header_end,
        "on_part_data": on_part_data,
        "on_end": on_end,
    }
    parser = MultipartParser(options[b"boundary"], callbacks)
    parser.write(received)
    parser.finalize()
    assert ended
    return parts


@given(
    st.binary(min_size=1, max_size=60) | st.text("\r\n-B", min_size=1, max_size=60).map(str.encode),
    st.data(),
)
def test_another_implementation_reads_the_parts(file: bytes, data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, len(file)), st.integers(0, len(file)))
    slices = data.draw(
        st.lists(
            pairs.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Slice(*pair)),
            min_size=1,
            max_size=5,
        )
    )
    framed = frame(slices, len(file), "audio/mpeg", "9f86d081884c7d659a2feaa0c55ad015")
    received = body(framed, file)

    assert len(received) == framed.length
    parts = read_back(framed.content_type, received)
    assert [content for _, content in parts] == [file[piece.start : piece.stop] for piece in slices]
    for (headers, _), piece in zip(parts, slices, strict=True):
        assert headers == {
            "content-type": "audio/mpeg",
            "content-range": f"bytes {piece.start}-{piece.stop - 1}/{len(file)}",
        }


@pytest.mark.parametrize("boundary", ["", "a" * 71, "a b", 'a"b', "a\r\nb", "a;b", "ä"])
def test_a_boundary_that_would_break_the_framing_is_refused(boundary: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        frame([Slice(0, 1), Slice(5, 6)], 10, "audio/mpeg", boundary)


def test_the_longest_boundary() -> None:
    assert frame([Slice(0, 1)], 10, "audio/mpeg", "a" * 70).content_type.endswith("a" * 70)
