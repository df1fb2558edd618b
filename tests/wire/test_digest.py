"""Digest fields, judged by RFC 9530 and the structured fields of RFC 9651."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.errors import MalformedRequest
from mosic.wire.digest import declared_sha256, digest_field

# RFC 9530 §B.1: the digest of `{"hello": "world"}` and a line feed
RFC_FIELD = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
RFC_DIGEST = hashlib.sha256(b'{"hello": "world"}\n').digest()
B64 = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="


def test_the_example_of_the_rfc() -> None:
    assert digest_field(RFC_DIGEST) == RFC_FIELD
    assert declared_sha256(RFC_FIELD) == RFC_DIGEST


@pytest.mark.parametrize(
    "value",
    [
        f" {RFC_FIELD} ",
        f"sha-512=:AAAA:, {RFC_FIELD}",
        f"{RFC_FIELD},md5=:AAAA:",
        f"{RFC_FIELD}\t,\tmd5=:AAAA:",
        f"sha-256=:AAAA:, {RFC_FIELD}",  # of a key that comes twice, the last counts (§4.2.2)
        f"{RFC_FIELD};note=1; other",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg:",  # padding may be missing (§4.2.7)
        f'unixsum=30637, a=-1.5, b="x, \\"y\\" \\\\", c=tok/en:*, {RFC_FIELD}',
        f'd=?0, e, f=@1659578233, g=%"%c3%bc", {RFC_FIELD}',
        f'list=(1 2;x :AAAA: "a,b" tok), empty=(), spaced=(  a   b  );p, {RFC_FIELD}',
        f"*a_b-c.d*=1, {RFC_FIELD}",
    ],
)
def test_a_digest_among_other_members_is_found(value: str) -> None:
    assert declared_sha256(value) == RFC_DIGEST


@pytest.mark.parametrize(
    "value", [None, "", "  ", "sha-512=:AAAA:", "md5=:AAAA:, unixsum=30637", "sha-256x=1", "a"]
)
def test_none_is_declared(value: str | None) -> None:
    assert declared_sha256(value) is None


@pytest.mark.parametrize(
    "value",
    [
        f"sha-256={B64}",  # the form of the obsolete Digest field
        f"SHA-256=:{B64}:",  # keys are lower-case
        f"sha256:{B64}",
        f"sha-256:{B64}",
        f"sha-256 =:{B64}:",
        f"sha-256= :{B64}:",
        f"sha-256=:{B64}",
        f"sha-256={B64}:",
        f"sha-256=: {B64}:",
        f"sha-256=:{B64}:junk",
        f"sha-256=:{B64}: ;a",
        f"sha-256=:{B64}:,",
        f"sha-256=:{B64}:, ",
        f",sha-256=:{B64}:",
        f"sha-256=:{B64}:,,md5=:AAAA:",
        f"sha-256=:{B64}: md5=:AAAA:",
        f"sha-256=:{B64}:; md5 =1",
        f"sha-256=(:{B64}:)",
        f'sha-256="{B64}"',
        "sha-256",
        "sha-256=?1",
        "sha-256=1",
        "sha-256=::",
        "sha-256=:AAAA:",  # not 32 bytes
        f"sha-256=:{base64.b64encode(bytes(33)).decode()}:",
        f"sha-256=:{B64[:20]}=={B64[22:]}:",
        f"sha-256=:{B64}===:",
        f"sha-256=:{B64.replace('/', '_')}:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabD:",
        f"sha-256=:{RFC_DIGEST.hex()}:",
        f"sha-256=:{B64}:, sha-256=:AAAA:",
        # Malformed members elsewhere make the whole field malformed (§4.2)
        f"{RFC_FIELD}, A=1",
        f"{RFC_FIELD}, a=",
        f'{RFC_FIELD}, a="x',
        f'{RFC_FIELD}, a="é"',
        f"{RFC_FIELD}, a=1.2.3",
        f"{RFC_FIELD}, a=1.",
        f"{RFC_FIELD}, a=1234567890123456",
        f"{RFC_FIELD}, a=?2",
        f"{RFC_FIELD}, a=(1",
        f"{RFC_FIELD}, a=(1,2)",
        f'{RFC_FIELD}, a=("a""b")',
        f"{RFC_FIELD}, a=:AA*A:",
        f"{RFC_FIELD}, ﹡a=1",
        f"{RFC_FIELD}\x00",
        f"{RFC_FIELD}\n",
        "=",
        ":",
        ",",
    ],
)
def test_what_does_not_parse_is_malformed(value: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        declared_sha256(value)
    assert "sha-256=" in raised.value.detail


@given(st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read_back(digest: bytes) -> None:
    assert declared_sha256(digest_field(digest)) == digest


@given(st.text(st.characters()) | st.text('sha-256=:A(); ,"\\1.?@%*'))
def test_any_text_is_read_or_malformed(value: str) -> None:
    try:
        digest = declared_sha256(value)
    except MalformedRequest:
        return
    assert digest is None or len(digest) == 32


@pytest.mark.parametrize(
    "value",
    [
        "a=(" + " " * 10**6,
        "a=(" + "1 " * 500_000,
        "a" + ";b" * 500_000 + "!",
        'a="' + "x" * 10**6,
        'a="' + '\\"' * 500_000,
        "a," * 500_000,
        "sha-256=:" + "A" * 10**6 + ":",
        "a" + " " * 10**6 + "x",
        "a" * 10**6 + "!",
        "(" * 10**6,
    ],
    ids=lambda value: f"{value[:12]}…",
)
def test_a_megabyte_of_almost_a_dictionary_is_malformed(value: str) -> None:
    """Backtracking would run into the time limit of the test."""
    with pytest.raises(MalformedRequest):
        declared_sha256(value)
