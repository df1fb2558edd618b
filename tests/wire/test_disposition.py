"""File names that go out (RFC 6266, RFC 8187) and file names that come in."""

from __future__ import annotations

import re
import unicodedata
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mosic.wire.disposition import content_disposition, safe_file_name

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))

# quoted-string without quoted-pair; ext-value of RFC 8187 §3.2.1
FIELD = re.compile(
    r'(?:inline|attachment)(?:; filename="[ !#-\[\]-~]+"'
    r"; filename\*=UTF-8''(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)?"
)


any_text = st.text(st.characters())  # lone surrogates too


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("song.mp3", "filename=\"song.mp3\"; filename*=UTF-8''song.mp3"),
        ("two words.mp3", "filename=\"two words.mp3\"; filename*=UTF-8''two%20words.mp3"),
        ("€ rates", "filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),  # RFC 6266 §5
        ("Café.mp3", "filename=\"Cafe.mp3\"; filename*=UTF-8''Caf%C3%A9.mp3"),
        ("Cafe\u0301.mp3", "filename=\"Cafe.mp3\"; filename*=UTF-8''Caf%C3%A9.mp3"),
        ("東京.flac", "filename=\"__.flac\"; filename*=UTF-8''%E6%9D%B1%E4%BA%AC.flac"),
        ("🎵.ogg", "filename=\"_.ogg\"; filename*=UTF-8''%F0%9F%8E%B5.ogg"),
        ('a"b.mp3', "filename=\"a_b.mp3\"; filename*=UTF-8''a%22b.mp3"),
        ("AC/DC.mp3", "filename=\"AC_DC.mp3\"; filename*=UTF-8''AC_DC.mp3"),
        ("a\\b.mp3", "filename=\"a_b.mp3\"; filename*=UTF-8''a_b.mp3"),
        ("../../etc/passwd", "filename=\"_._.._etc_passwd\"; filename*=UTF-8''_._.._etc_passwd"),
        (".bashrc", "filename=\"_bashrc\"; filename*=UTF-8''_bashrc"),
        ("50%41.mp3", "filename=\"50_41.mp3\"; filename*=UTF-8''50%2541.mp3"),
        ("a\r\nSet-Cookie: x=1", "filename=\"aSet-Cookie: x=1\"; filename*=UTF-8''aSet-Cookie%3A%20x%3D1"),
        ("a\x00b\x7f\x85.mp3", "filename=\"ab.mp3\"; filename*=UTF-8''ab.mp3"),
        ("song\u202e3pm.exe", "filename=\"song3pm.exe\"; filename*=UTF-8''song3pm.exe"),
        ("a\ud800b.mp3", "filename=\"ab.mp3\"; filename*=UTF-8''ab.mp3"),
        ("a;b=c'd.mp3", "filename=\"a;b=c'd.mp3\"; filename*=UTF-8''a%3Bb%3Dc%27d.mp3"),
        ("!#$&+^`|~-_.mp3", "filename=\"!#$&+^`|~-_.mp3\"; filename*=UTF-8''!#$&+^`|~-_.mp3"),
        ("\uff0f\uff02x.mp3", "filename=\"__x.mp3\"; filename*=UTF-8''%EF%BC%8F%EF%BC%82x.mp3"),
    ],
)
def test_names_are_suggested(name: str, expected: str) -> None:
    assert content_disposition("inline", name) == f"inline; {expected}"
    assert content_disposition("attachment", name) == f"attachment; {expected}"


@pytest.mark.parametrize("name", ["", ".", "..", "...", "  ", "\x00\r\n", BIDI, " . "])
def test_what_is_no_name_is_not_suggested(name: str) -> None:
    assert content_disposition("inline", name) == "inline"


def test_the_library_reads_the_name_back() -> None:
    message = Message()
    message["Content-Disposition"] = content_disposition("attachment", "Ænima – naïve 東京.mp3").replace(
        'filename="_nima _ naive __.mp3"; ', ""
    )
    assert message.get_filename() == "Ænima – naïve 東京.mp3"


@given(any_text | st.text('\r\n\x00"\\/;%é東.\u202e', max_size=30))
@example("\u2024\u2024")  # decomposes to two dots
@example("\u2100")  # decomposes to a/c
@example("\ufdfa" * 100)
def test_any_name_makes_a_safe_field(name: str) -> None:
    field = content_disposition("attachment", name)
    assert FIELD.fullmatch(field)
    assert len(field) < 4096
    if field == "attachment":
        assert not safe_file_name(re.sub(r"[/\\]", "", name))
        return
    _, plain, extended = re.split(r"; filename(?=[*=])", field)
    for suggested in (plain[2:-1], unquote(extended.partition("''")[2])):
        assert suggested
        assert not suggested.startswith(".")
        assert not set(suggested) & {*CONTROLS, *BIDI, "/", "\\"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, None),
        ("song.mp3", "song.mp3"),
        ("/home/me/song.mp3", "song.mp3"),
        ("C:\\Users\\me\\song.mp3", "song.mp3"),
        ("C:\\Users/me\\a/song.mp3", "song.mp3"),
        ("../../etc/passwd", "passwd"),
        ("song.mp3\x00.exe", "song.mp3.exe"),
        ("a\r\nb.mp3", "ab.mp3"),
        ("  song.mp3\t", "song.mp3"),
        ("Cafe\u0301.mp3", "Café.mp3"),
        ("song\u202e3pm.exe", "song3pm.exe"),
        ("a\udcffb.mp3", "ab.mp3"),
        ("東京.flac", "東京.flac"),
        (".hidden.mp3", ".hidden.mp3"),
        ('quoted "name" 50%.mp3', 'quoted "name" 50%.mp3'),
        ("", None),
        ("/", None),
        ("folder/", None),
        (".", None),
        ("..", None),
        ("a/..", None),
        (" . . ", None),
        ("\x00\x01\r\n", None),
        (BIDI, None),
    ],
)
def test_names_of_clients(name: str | None, expected: str | None) -> None:
    assert safe_file_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a" * 251 + ".mp3", "a" * 251 + ".mp3"),
        ("a" * 252 + ".mp3", "a" * 251 + ".mp3"),
        ("a" * 10_000 + ".flac", "a" * 250 + ".flac"),
        ("é" * 200 + ".mp3", "é" * 125 + ".mp3"),
        ("東" * 200 + ".mp3", "東" * 83 + ".mp3"),
        ("e\u0301" * 200 + ".mp3", "é" * 125 + ".mp3"),
        ("a" * 300, "a" * 255),
        ("a" * 254 + " " + "b" * 50, "a" * 254),
        ("a." + "b" * 300, "a." + "b" * 253),  # that is no ending
        ("." + "b" * 300, "." + "b" * 254),
    ],
)
def test_long_names_keep_their_ending(name: str, expected: str) -> None:
    assert safe_file_name(name) == expected


@given(any_text | st.text("é\u0301\u0327 ./a東\U0001f3b5\u00a0", min_size=60, max_size=400))
def test_any_name_becomes_safe(name: str) -> None:
    safe = safe_file_name(name)
    if safe is None:
        return
    assert safe
    assert len(safe.encode()) <= 255
    assert not set(safe) & {*CONTROLS, *BIDI, "/", "\\"}
    assert safe == safe.strip()
    assert unicodedata.is_normalized("NFC", safe)
    assert safe not in {".", ".."}
    assert safe_file_name(safe) == safe


@pytest.mark.parametrize(
    "name",
    [
        "a" + "\u0315\u0327" * 250_000,
        "a" * 10**6,
        "." * 10**6 + "a",
        "\x00" * 10**6 + "a.mp3",
        "/" * 10**6 + "a",
    ],
)
def test_a_megabyte_of_name(name: str) -> None:
    """Normalising it whole would run into the time limit of the test."""
    safe = safe_file_name(name)
    assert safe is not None
    assert "a" in safe or safe.startswith(".")
    assert FIELD.fullmatch(content_disposition("inline", name))
