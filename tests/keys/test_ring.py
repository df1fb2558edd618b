"""Which key is whose."""

from __future__ import annotations

import gc

from mosic.keys.ring import KeyRing
from mosic.wire.apikeys import NamedKey


def test_holder() -> None:
    ring = KeyRing([NamedKey("a", "k1"), NamedKey("b", "k2"), NamedKey("a", "k3"), NamedKey("c", "k1")])
    assert [ring.holder(key) for key in (b"k1", b"k2", b"k3")] == ["a", "b", "a"]
    for wrong in (b"", b"k", b"k1 ", b"K1", b"k1\x00", b"\xff\xfe", b"k" * 100_000):
        assert ring.holder(wrong) is None
    assert ring.names == ("a", "b")


def test_an_empty_ring_opens_to_nobody() -> None:
    assert KeyRing().holder(b"") is None


def test_replace_leaves_nothing_of_the_old() -> None:
    ring = KeyRing([NamedKey("a", "k1")])
    ring.replace([NamedKey("b", "k2")])
    assert (ring.holder(b"k1"), ring.holder(b"k2"), ring.names) == (None, "b", ("b",))


def test_the_keys_themselves_are_not_kept() -> None:
    ring = KeyRing([NamedKey("a", "k" * 40)])
    found = [ring]
    seen = set()
    while found:
        value = found.pop()
        if id(value) in seen or isinstance(value, type):
            continue
        seen.add(id(value))
        assert "k" * 40 not in repr(value)
        found += gc.get_referents(value)


def test_short_keys_are_named() -> None:
    ring = KeyRing([NamedKey("a", "k" * 19), NamedKey("b", "k" * 20)])
    assert ring.weak_names == ("a",)
