"""What a part and a form say of themselves: names, types, boundaries."""

from __future__ import annotations

import pytest

from mosic.errors import MalformedRequest
from mosic.wire.multipart import MultipartReader
from tests.support.multipart import (
    BOUNDARY,
    TITLE,
    Part,
    form,
    one,
    outcome,
    read,
)


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
