"""`multipart/form-data` as clients send it, as it may be cut, and as an attacker would send it."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosic.errors import MalformedRequest
from mosic.wire.multipart import MultipartLimits, MultipartReader, PartBegin, PartData, PartEnd
from tests.support.programs import needs

BOUNDARY = "----WebKitFormBoundaryeBAyEsjSS43Zk8vd"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DELIMITER = b"\r\n--" + BOUNDARY.encode()


@dataclass
class Part:
    name: str
    file_name: str | None
    content_type: str | None
    content: bytes


def read(
    chunks: Iterable[bytes | bytearray],
    content_type: str = CONTENT_TYPE,
    limits: MultipartLimits | None = None,
) -> list[Part]:
    reader = MultipartReader(content_type, limits=limits)
    parts: list[Part] = []
    open_part = False
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartBegin):
                assert not open_part
                open_part = True
                parts.append(Part(event.name, event.file_name, event.content_type, b""))
            elif isinstance(event, PartData):
                assert open_part
                assert len(event.data) > 0
                parts[-1].content += event.data
            else:
                assert isinstance(event, PartEnd)
                assert open_part
                open_part = False
    reader.finish()
    assert not open_part
    return parts


def form(*parts: tuple[bytes, bytes], boundary: str = BOUNDARY) -> bytes:
    """A body from (headers, content) pairs, as RFC 2046 §5.1.1 writes it."""
    line = b"--" + boundary.encode()
    sections = [line + b"\r\n" + headers + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts]
    return b"".join(sections) + line + b"--\r\n"


def one(disposition: bytes, content: bytes = b"x") -> bytes:
    return form((b"Content-Disposition: form-data" + disposition, content))


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(body)]
    return [body[start:stop] for start, stop in pairwise(edges)]


def outcome(chunks: Iterable[bytes]) -> list[Part] | None:
    """The parts, or None for a refusal. Nothing else may come out."""
    try:
        return read(chunks)
    except MalformedRequest:
        return None


TITLE = b'Content-Disposition: form-data; name="title"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg'
# Everything that looks like a boundary but is not one.
TRAPS = b"".join(
    (
        b"\r\n--",
        DELIMITER[:-1],
        b"\r\r\n" + DELIMITER[2:-4],
        b"\n--" + BOUNDARY.encode(),
        b"--" + BOUNDARY.encode(),
        b"\r" * 80,
        DELIMITER[:5] + DELIMITER[:-2],
    )
)
BODY = form((TITLE, "Größe".encode()), (FILE, TRAPS * 2), (TITLE.replace(b"title", b"empty"), b""))
PARTS = [
    Part("title", None, None, "Größe".encode()),
    Part("file", "a.mp3", "audio/mpeg", TRAPS * 2),
    Part("empty", None, None, b""),
]


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


@pytest.mark.parametrize(
    ("disposition", "name", "file_name"),
    [
        (b'; name="title"', "title", None),
        (b"; name=title", "title", None),
        (b'; NAME="file"; FileName="a.mp3"', "file", "a.mp3"),
        (b';name="file";filename="a.mp3"', "file", "a.mp3"),
        (b' ; name = "file" ; filename = a.mp3 ;', "file", "a.mp3"),
        (b'; filename="a; name=x.mp3"; name="file"', "file", "a; name=x.mp3"),
        (b'; name=""; filename=""', "", ""),
        # An input that was left empty
        (b'; name="file"; filename=""', "file", ""),
        # Browsers (WHATWG HTML): only ", CR and LF are escaped
        (b'; name="file"; filename="a%22b%0D%0Ac%41.mp3"', "file", 'a"b\r\nc%41.mp3'),
        (b'; name="fi%22le"', 'fi"le', None),
        (b'; name="file"; filename="a\\b.mp3"', "file", "a\\b.mp3"),
        (b'; name="file"; filename="C:\\music\\new.mp3"', "file", "C:\\music\\new.mp3"),
        # curl --form-escape, and quoted-string of RFC 9110
        (b'; name="file"; filename="a\\"b\\\\c.mp3"', "file", 'a"b\\c.mp3'),
        # RFC 7578 §5.1: UTF-8 as it is
        ('; name="file"; filename="音楽 é.mp3"'.encode(), "file", "音楽 é.mp3"),
        ('; name="Größe"'.encode(), "Größe", None),
        (b'; name="file"; filename="caf\xe9.mp3"', "file", "café.mp3"),
        # RFC 8187
        (b'; name="file"; filename="x"; filename*=UTF-8\'\'%e9%9f%b3%20a.mp3', "file", "音 a.mp3"),
        (b'; name="file"; filename*=utf-8\'en\'a%22.mp3; filename="x"', "file", 'a".mp3'),
        (b"; name=file; filename*=ISO-8859-1''caf%E9.mp3", "file", "café.mp3"),
        # What cannot be read there gives way to the plain name
        (b'; name="file"; filename="x"; filename*=UTF-8\'\'%FF', "file", "x"),
        (b'; name="file"; filename="x"; filename*=EBCDIC-9\'\'%C1', "file", "x"),
        (b'; name="file"; filename="x"; filename*=nonsense', "file", "x"),
        # Other encodings
        (b'; name="file"; filename="x"; filename*=KOI8-R\'\'%C1', "file", "а"),
        (b"; name=file; filename*=windows-1252''Don%92t.mp3", "file", "Don’t.mp3"),
        (b"; name=file; filename*=UTF-8''%FF", "file", "ÿ"),
        (b"; name=file; filename*=UTF-8''a b (c).mp3", "file", "a b (c).mp3"),
        (b"; name=file; filename*=UTF-8''a%00b", "file", "ab"),
        (b'; name="file"; filename="Don\x92t.mp3"', "file", "Don’t.mp3"),
        # Control characters
        (b'; name="file"; filename="a\x00b\x1b.mp3"', "file", "ab.mp3"),
        # Quotes and backslashes as they are
        (b'; name="file"; filename="Song (12" mix).mp3"', "file", 'Song (12" mix).mp3'),
        (b'; filename="a"b"; name="file"', "file", 'a"b'),
        (b'; filename="7" & 12".mp3"; name="file"; size=3', "file", '7" & 12".mp3'),
        (b'; filename="x"; y" z.mp3"; name="file"', "file", 'x"; y" z.mp3'),
        (b'; name="file"; filename="a\\"', "file", "a\\"),
        (b'; filename="C:\\music\\"; name="file"', "file", "C:\\music\\"),
        (b'; name="file"; filename="a.mp3', "file", "a.mp3"),
        (b'; name="file"; filename=a "b"; c.mp3', "file", 'a "b"; c.mp3'),
        (b'; name="file"; filename="a"; filename="b"', "file", "a"),
        # aiohttp percent-encodes the whole name; a browser does not, so that %41 stays
        (b'; name="file"; filename="%E9%9F%B3%20%28a%29.mp3"', "file", "音 (a).mp3"),
        (b'; name="file"; filename="%E9.mp3"', "file", "%E9.mp3"),
        (b'; name="file"; filename="100%41 x.mp3"', "file", "100%41 x.mp3"),
        # Encoded words of mail (RFC 2047)
        (
            b'; name="file"; filename="=?UTF-8?B?R3LDtsOfZQ==?= =?iso-8859-1?Q?_caf=E9?=.mp3"',
            "file",
            "Größe café.mp3",
        ),
        (b'; name="file"; filename="=?UTF-8?B?R3L?=.mp3"', "file", "Gr.mp3"),
        (b'; name="file"; filename="=?what?="', "file", "=?what?="),
        # Parameters of other days
        (b'; name="file"; filename="x"; size=3; filename*0="y"', "file", "x"),
        # RFC 2231 §3 and §4.1: cut into sections.
        (b'; name="file"; filename*0="a long "; filename*1="name.mp3"', "file", "a long name.mp3"),
        (b"; name=file; filename*0*=UTF-8''%E9%9F%B3; filename*1*=%20a.mp3", "file", "音 a.mp3"),
        (b"; name=file; filename*0*=UTF-8''%E9; filename*1*=%9F%B3.mp3", "file", "音.mp3"),
        (b"; name=file; filename*1=\"%41.mp3\"; filename*0*=UTF-8''%E9%9F%B3", "file", "音%41.mp3"),
        (b"; name=file; filename*0*=windows-1252''Don%92t; filename*2=x", "file", "Don’t"),
        (b'; name="file"; filename*1="a.mp3"', "file", None),
        (b'; name="file"; filename=""; filename*0="a.mp3"', "file", "a.mp3"),
    ],
)
def test_names(disposition: bytes, name: str, file_name: str | None) -> None:
    body = one(disposition)
    assert read([body]) == [Part(name, file_name, None, b"x")]
    assert read(body[at : at + 1] for at in range(len(body))) == [Part(name, file_name, None, b"x")]


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: audio/mpeg",
        b"Content-Disposition: form-data",
        b'Content-Disposition: attachment; name="file"',
        b'Content-Disposition: ; name="file"',
        b'Content-Disposition: form-data, name="file"',
        b'Content-Disposition: form-data; name="file',
        b'Content-Disposition: form-data; name="file\\"',
        b'Content-Disposition: form-data; name="file"; name="title"',
        b'Content-Disposition: form-data; name="file"; NAME="title"',
        b'Content-Disposition: form-data; name="file"x',
        b'Content-Disposition: form-data; name="file"; filename',
        b'Content-Disposition: form-data; name="a\x00b"',
        b'Content-Disposition: form-data; name="a\nb"',
        b'Content-Disposition: form-data; name="a\x7fb"',
        TITLE + b"\r\n" + TITLE,
        TITLE + b"\r\ncontent-disposition: form-data; name=x",
        TITLE + b"\r\nContent-Transfer-Encoding: base64",
        TITLE + b"\r\nContent-Transfer-Encoding: quoted-printable",
        TITLE + b'\r\n filename="folded.mp3"',
        TITLE + b"\r\nno colon",
        TITLE + b"\r\n: no name",
        TITLE + b"\r\nContent Type: audio/mpeg",
        TITLE + b"\r\nX: a\rb",
        TITLE + b"\nContent-Type: audio/mpeg",
        TITLE + b"\r\n--" + BOUNDARY.encode() + b": x",
        TITLE + b"\r\n--" + BOUNDARY.encode() + b"--\r\nX: y",
    ],
)
def test_odd_part_headers_are_refused(headers: bytes) -> None:
    body = form((headers, b"x"))
    assert outcome([body]) is None
    assert outcome(body[at : at + 1] for at in range(len(body))) is None


@pytest.mark.parametrize("encoding", [b"binary", b"8bit", b"7BIT"])
def test_an_encoding_that_is_none_is_accepted(encoding: bytes) -> None:
    """Java clients send `Content-Transfer-Encoding: binary` with every part."""
    body = form((TITLE + b"\r\nContent-Transfer-Encoding: " + encoding, b"x"))
    assert read([body]) == [Part("title", None, None, b"x")]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b", "b"),
        ("Multipart/Form-Data; charset=utf-8; Boundary=b", "b"),
        ('multipart/form-data; boundary="a b"', "a b"),
        ("multipart/form-data;boundary====1==", "===1=="),  # unquoted, as some mail libraries write it
        ("multipart/form-data; boundary='()+_,-./:=?", "'()+_,-./:=?"),
        ("multipart/form-data; boundary=" + "x" * 70, "x" * 70),
    ],
)
def test_boundaries(content_type: str, boundary: str) -> None:
    body = form((TITLE, b"x"), boundary=boundary)
    assert read([body], content_type) == [Part("title", None, None, b"x")]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; boundary=b",
        "multipart/mixed; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="b',
        'multipart/form-data; boundary="b "',
        'multipart/form-data; boundary="é"',
        'multipart/form-data; boundary="\u0100"',
        'multipart/form-data; boundary="a\r\nb"',
        'multipart/form-data; boundary="a\x00b"',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=" + "x" * 100_000,
        "multipart/form-data" + ";" * 100_000 + "boundary=b",
        "multipart/form-data, multipart/form-data; boundary=b",
    ],
)
def test_a_content_type_without_usable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MalformedRequest):
        MultipartReader(content_type)


@pytest.mark.parametrize("cut_small", [False, True])
@pytest.mark.parametrize(
    ("limits", "fits", "too_much"),
    [
        (MultipartLimits(parts=2), form((TITLE, b""), (TITLE, b"")), form(*[(TITLE, b"")] * 3)),
        (
            MultipartLimits(headers_of_part=2),
            form((TITLE + b"\r\nX: 1", b""), (TITLE + b"\r\nY: 1", b"")),
            form((TITLE + b"\r\nX: 1\r\nY: 1", b"")),
        ),
        (MultipartLimits(name=5), form((TITLE, b"")), form((TITLE.replace(b"title", b"title2"), b""))),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE + b"\r\nX: " + b"y" * 90, b""), (TITLE + b"\r\nX: " + b"y" * 90, b"")),
            form((TITLE + b"\r\nX: " + b"y" * 50 + b"\r\nZ: " + b"y" * 50, b"")),
        ),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE, b"")),
            form((TITLE + b"\r\nX: " + b"y" * 200, b"")),
        ),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE, b"")),
            form((TITLE + b"\r\n" + b"X" * 200 + b": y", b"")),
        ),
        (MultipartLimits(preamble=9), b"a\r\n-b---\r\n"[1:] + BODY, b"a\r\n-b---\r\n" + BODY),
        (MultipartLimits(preamble=0), BODY, b"\r\n" + BODY),
        (MultipartLimits(epilogue=3), BODY + b"a", BODY + b"ab"),  # the line end counts
        (MultipartLimits(epilogue=0), BODY[:-2], BODY),
        (MultipartLimits(epilogue=50), BODY, BODY + DELIMITER + b"--" * 10),
    ],
)
def test_limits(limits: MultipartLimits, fits: bytes, too_much: bytes, cut_small: bool) -> None:
    def chunks(body: bytes) -> list[bytes]:
        return [body[at : at + 1] for at in range(len(body))] if cut_small else [body]

    read(chunks(fits), limits=limits)
    with pytest.raises(MalformedRequest):
        read(chunks(too_much), limits=limits)


MEBIBYTE = 1024 * 1024


def refused_after(body: Iterable[bytes]) -> int:
    """How many bytes were read before the form was refused."""
    reader = MultipartReader(CONTENT_TYPE)
    seen = 0
    for chunk in body:
        seen += len(chunk)
        try:
            reader.feed(chunk)
        except MalformedRequest:
            return seen
    pytest.fail("was not refused")


@pytest.mark.parametrize("filler", [b"\r", b"\n", b"\r\n", b"-", b"x", b"\r\n--", DELIMITER[:-1] + b"\r\n"])
def test_an_endless_preamble_is_refused_early(filler: bytes) -> None:
    """CVE-2024-53981 and its kin: bytes before the first boundary were read one by one, and logged."""
    chunk = filler * (4096 // len(filler))
    assert refused_after([chunk] * 1000) <= 3 * 4096


@pytest.mark.parametrize("filler", [b"\r\n", b"x", DELIMITER, DELIMITER + b"--"])
def test_an_endless_epilogue_is_refused_early(filler: bytes) -> None:
    chunk = filler * (4096 // len(filler))
    assert refused_after([BODY, *[chunk] * 1000]) <= len(BODY) + 3 * 4096


def test_endless_parts_are_refused_early() -> None:
    part = b"--" + BOUNDARY.encode() + b"\r\n" + TITLE + b"\r\n\r\n\r\n"
    assert refused_after([part] * 10_000) <= 65 * len(part)


def test_endless_headers_are_refused_early() -> None:
    head = b"--" + BOUNDARY.encode() + b"\r\n"
    assert refused_after([head, *(b"X%d: y\r\n" % n for n in range(10_000))]) < 1024
    assert refused_after([head, b"X: ", *[b"y" * 1024] * 1000]) < 10 * 1024
    assert refused_after([head, *[b"X" * 1024] * 1000]) < 10 * 1024
    assert refused_after([head, b"X:", *[b" " * 1024] * 1000]) < 10 * 1024


@pytest.mark.parametrize(
    "filler",
    [
        b"\r",
        b"\r\n",
        b"-",
        b"\r\n--",
        DELIMITER[:-1],
        DELIMITER[:-1] + b"\r",
        DELIMITER + b"x",
        DELIMITER + b"-x",
        DELIMITER + b"\r",
    ],
)
@pytest.mark.parametrize("size", [1000, 65536, 8 * MEBIBYTE])
def test_hostile_content_costs_no_more_than_its_size(filler: bytes, size: int) -> None:
    """Were the search for a boundary quadratic, the largest of these would take hours."""
    head, tail = BODY[: BODY.index(TRAPS)], DELIMITER + b"--"
    chunk = (filler * (size // len(filler) + 1))[:size]
    count = 1 if size > MEBIBYTE else 20
    content = read([head, *[chunk] * count, tail])[1].content
    assert content == chunk * count


def test_hostile_header_values_cost_no_more_than_their_size() -> None:
    limits = MultipartLimits(header_bytes_of_part=4 * MEBIBYTE)
    for value in (
        b'"' + b"\\" * MEBIBYTE,
        b";" * MEBIBYTE,
        b'="' * MEBIBYTE,
        b"; a" * MEBIBYTE,
        b"%22" * MEBIBYTE,
    ):
        with suppress(MalformedRequest):
            read([one(b"; name=" + value)], limits=limits)


@needs("curl")
@pytest.mark.parametrize("escape", [False, True], ids=["percent", "backslash"])
async def test_what_curl_sends(tmp_path: Path, escape: bool) -> None:
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        received.extend(head + await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    content = random.Random(7).randbytes(100_000)
    (tmp_path / 'a"b\\ü.mp3').write_bytes(content)
    command = ["curl", "-sS", "-F", "title=Größe", "-F", 'file=@"a\\"b\\\\ü.mp3";type=audio/mpeg']
    command += ["--form-escape"] * escape + [f"http://127.0.0.1:{port}/"]
    async with server:
        done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr

    head, _, body = bytes(received).partition(b"\r\n\r\n")
    (content_type,) = [
        line for line in head.decode().split("\r\n") if line.lower().startswith("content-type:")
    ]
    assert read([body], content_type.partition(":")[2].strip()) == [
        Part("title", None, None, "Größe".encode()),
        Part("file", 'a"b\\ü.mp3', "audio/mpeg", content),
    ]
