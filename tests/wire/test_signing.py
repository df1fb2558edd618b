"""Signed addresses: they open what they were made for, for as long as they say, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, quote
from uuid import UUID, uuid4

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mosic.errors import ExpiredUrl, InvalidSignature
from mosic.wire.signing import Opened, UrlSigner

CLIP = UUID("01935b7e-0000-7000-8000-00000000000a")
SIGNER = UrlSigner(b"a secret of the test", ttl=3600)
NOW = 1_700_000_000.0
EXPIRES = SIGNER.expiry(NOW)
GOOD = SIGNER.query("stream", CLIP, EXPIRES)
SIGNATURE = parse_qs(GOOD)["signature"][0]


def check(query: str, *, opened: Opened = "stream", clip: UUID = CLIP, now: float = NOW) -> None:
    SIGNER.check(opened, clip, query.encode("latin-1"), now)


def test_it_is_hmac_sha256_in_base64url() -> None:
    """Made here with other means than there."""
    message = f"mosic-url-1\nstream\n{CLIP}\n{EXPIRES}".encode()
    made = hmac.new(b"a secret of the test", message, hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(made).decode().rstrip("=") == SIGNATURE
    assert f"expires={EXPIRES}&signature={SIGNATURE}" == GOOD


def test_it_holds_until_the_very_second() -> None:
    check(GOOD)
    check(GOOD, now=EXPIRES - 0.001)
    with pytest.raises(ExpiredUrl):
        check(GOOD, now=EXPIRES)


@pytest.mark.parametrize(
    "query",
    [
        f"signature={SIGNATURE}&expires={EXPIRES}",
        f"{GOOD}&t=10",
        f"a=1&{GOOD}",
        f"%65xpires={EXPIRES}&signature={SIGNATURE}",
        f"expires={EXPIRES}&signature={quote(SIGNATURE, safe='')}",
    ],
)
def test_other_spellings_of_the_same(query: str) -> None:
    check(query)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "signature=",
        f"signature={SIGNATURE}",
        f"expires={EXPIRES}",
        f"expires={EXPIRES}&signature=",
        f"expires={EXPIRES}&signature={SIGNATURE[:-1]}",
        f"expires={EXPIRES}&signature={SIGNATURE}A",
        f"expires={EXPIRES}&signature={SIGNATURE}%3D",
        f"expires={EXPIRES}&signature={SIGNATURE}=",
        f"expires={EXPIRES}&signature={SIGNATURE.swapcase()}",
        f"expires={EXPIRES}&signature={SIGNATURE}%00",
        f"expires={EXPIRES}&signature=+{SIGNATURE}",
        f"expires={EXPIRES + 1}&signature={SIGNATURE}",
        f"expires={EXPIRES - 1}&signature={SIGNATURE}",
        f"expires=0{EXPIRES}&signature={SIGNATURE}",
        f"expires=+{EXPIRES}&signature={SIGNATURE}",
        f"expires=%2B{EXPIRES}&signature={SIGNATURE}",
        f"expires={EXPIRES}.0&signature={SIGNATURE}",
        f"expires={EXPIRES}%20&signature={SIGNATURE}",
        f"expires={EXPIRES:_}&signature={SIGNATURE}",
        f"expires={EXPIRES:x}&signature={SIGNATURE}",
        f"expires=-1&signature={SIGNATURE}",
        f"expires=0&signature={SIGNATURE}",
        f"expires=&signature={SIGNATURE}",
        f"expires=1e12&signature={SIGNATURE}",
        f"expires={'9' * 12}&signature={SIGNATURE}",
        f"expires={'9' * 13}&signature={SIGNATURE}",
        f"expires={'9' * 3000}&signature={SIGNATURE}",
        f"expires={'9' * 5000}&signature={SIGNATURE}",
        f"expires={quote('١٧٠٠٠٠٣٦٠٠')}&signature={SIGNATURE}",
        f"expires={quote('１７００００３６００')}&signature={SIGNATURE}",
        f"expires={EXPIRES}&signature={quote('é')}{SIGNATURE[1:]}",
        f"expires={EXPIRES}&signature=\xe9{SIGNATURE[1:]}",
        f"expires={EXPIRES}&signature=%ff%fe",
        f"expires={EXPIRES}&signature=%ED%A0%80",
        f"{GOOD}&expires={EXPIRES}",
        f"{GOOD}&expires={EXPIRES + 3600}",
        f"expires={EXPIRES + 3600}&{GOOD}",
        f"{GOOD}&signature={SIGNATURE}",
        f"signature=x&{GOOD}",
        f"EXPIRES={EXPIRES}&SIGNATURE={SIGNATURE}",
        f"expires={EXPIRES};signature={SIGNATURE}",
        GOOD + "&a=b" * 1500,
        GOOD + "&a" * 40,
    ],
)
def test_tampered(query: str) -> None:
    for now in (NOW, EXPIRES + 10.0):
        with pytest.raises(InvalidSignature):
            check(query, now=now)


def test_for_another_clip_or_another_thing() -> None:
    with pytest.raises(InvalidSignature):
        check(GOOD, clip=UUID(int=CLIP.int + 1))
    with pytest.raises(InvalidSignature):
        check(GOOD, opened="cover")
    check(SIGNER.query("cover", CLIP, EXPIRES), opened="cover")
    with pytest.raises(InvalidSignature):
        check(SIGNER.query("cover", CLIP, EXPIRES))


def test_with_another_secret() -> None:
    with pytest.raises(InvalidSignature):
        UrlSigner(b"another", ttl=3600).check("stream", CLIP, GOOD.encode(), NOW)


def test_the_secret_is_not_shown() -> None:
    assert "secret of the test" not in repr(SIGNER)


times = st.floats(min_value=0, max_value=2e11)
lifetimes = st.integers(min_value=1, max_value=30 * 86400)
clips = st.builds(uuid4)


@given(times, lifetimes)
def test_expiry_is_the_lifetime_and_up_to_an_eighth_more(now: float, ttl: int) -> None:
    left = UrlSigner(b"", ttl).expiry(now) - now
    assert ttl <= left < ttl + max(1, ttl / 8) + 0.001


@given(times, st.integers(min_value=8, max_value=30 * 86400))
def test_addresses_made_shortly_after_each_other_are_mostly_the_same(now: float, ttl: int) -> None:
    signer = UrlSigner(b"", ttl)
    assert len({signer.expiry(now + ttl // 8 * part / 10) for part in range(10)}) <= 2


@given(st.binary(min_size=1), clips, times, lifetimes)
def test_what_was_made_opens_and_nothing_that_differs(
    secret: bytes, clip: UUID, now: float, ttl: int
) -> None:
    signer = UrlSigner(secret, ttl)
    expires = signer.expiry(now)
    query = signer.query("stream", clip, expires).encode()
    signer.check("stream", clip, query, now)
    with pytest.raises(ExpiredUrl):
        signer.check("stream", clip, query, expires)
    with pytest.raises(InvalidSignature):
        signer.check("cover", clip, query, now)
    with pytest.raises(InvalidSignature):
        UrlSigner(secret + b"x", ttl).check("stream", clip, query, now)


@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.integers(min_value=0, max_value=255))
def test_any_byte_changed(place: int, byte: int) -> None:
    changed = bytearray(GOOD.encode())
    assume(changed[place] != byte)
    changed[place] = byte
    with pytest.raises(InvalidSignature):
        SIGNER.check("stream", CLIP, bytes(changed), NOW)


@given(st.binary(max_size=300))
def test_any_query_at_all_is_refused_in_order(query: bytes) -> None:
    with pytest.raises(InvalidSignature):
        SIGNER.check("stream", CLIP, query, NOW)
