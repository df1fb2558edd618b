"""Keys as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.apikeys import MOST_KEYS, NamedKey, is_key_name, parse_key_file, parse_key_list


def pairs(keys: tuple[NamedKey, ...]) -> list[tuple[str, str]]:
    return [(key.name, key.api_key) for key in keys]


def test_a_list() -> None:
    assert pairs(parse_key_list("phone:k1, radio-2.x : k:2")) == [("phone", "k1"), ("radio-2.x", "k:2")]


def test_a_file_as_people_write_them() -> None:
    content = "\ufeff# Keys of märz\r\n\r\n  phone : k1  \r\n#old:k0\nradio:#k2\nphone:k3".encode()
    assert pairs(parse_key_file(content)) == [("phone", "k1"), ("radio", "#k2"), ("phone", "k3")]


def test_the_same_line_twice_counts_once() -> None:
    assert pairs(parse_key_file(b"a:k\nb:l\na:k\n")) == [("a", "k"), ("b", "l")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no key"),
        (b"# nothing\n\n", "no key"),
        (b"a:k\nsecret\n", "line 2 "),
        (b"a:k\n:secret\n", "line 2:"),
        (b"a:k\na b:secret\n", "line 2:"),
        ("ä:secret\n".encode(), "line 1:"),
        (b"-a:secret\n", "line 1:"),
        (b"a" * 65 + b":secret\n", "line 1:"),
        (b"a:\n", "line 1:"),
        (b"a:secret word\n", "line 1:"),
        (b"a:secret,word\n", "line 1:"),
        ("a:secretä\n".encode(), "line 1:"),
        (b"a:secret\x00\n", "line 1:"),
        (b"a:" + b"secret" * 100, "line 1:"),
        (b"a:secret\n# c\nb:secret\n", "line 3 has the key of another name"),
        (b"a:\xff\n", "not UTF-8"),
        (b"#" * (2**20 + 1), "bytes"),
        (b"".join(b"a:%d\n" % n for n in range(MOST_KEYS + 1)), "more than"),
    ],
)
def test_what_is_wrong_is_said_by_its_place_and_never_shown(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        parse_key_file(content)
    assert "secret" not in str(raised.value)


def test_keys_are_not_shown() -> None:
    assert "k1" not in repr(parse_key_list("phone:k1"))


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_a_clear_no(content: bytes) -> None:
    try:
        keys = parse_key_file(content)
    except ValueError:
        return
    assert keys
    for key in keys:
        assert is_key_name(key.name)
        assert key.api_key.isascii()
        assert not set(key.api_key) & set(" ,\r\n")
