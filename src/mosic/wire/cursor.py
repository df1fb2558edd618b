"""The opaque cursor to the next page of a sorted list, and the Link field that has it.

A cursor has the sort value and the id of the last row (keyset), so that no page repeats or misses a row while
others are added. It is no secret and gives no rights: its checksum finds damage, not forgery, and a forged
one gives a page of a list that its client may read anyway. Only a value of the right type reaches the
database.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

from mosic.errors import InvalidRequest
from mosic.wire.grammar import URL_CHARACTERS

SortValue = str | int | float | datetime

_VERSION = b"\x02"
_CHECK_SIZE = 6
_HEAD_SIZE = len(_VERSION) + _CHECK_SIZE
_ID_SIZE = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode_cursor(sort: str, value: SortValue | None, row_id: UUID, *, part: int = 0, of: str = "") -> str:
    """The cursor after the row `row_id`, whose sort value is `value`, in a list sorted by `sort`. `of` names
    the list (its filters), `part` is the number of the part of it in which the row is.

    URL-safe ASCII without padding, as long as 4/3 of the UTF-8 of `value` and about 60 more. A datetime must
    have a time zone, and comes back in UTC, exact to the microsecond; a float must be finite.
    """
    plain = (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value
    text = json.dumps([sort, plain, part, of], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = row_id.bytes + text.encode()
    return base64.urlsafe_b64encode(_VERSION + _check(content) + content).rstrip(b"=").decode("ascii")


def decode_cursor(
    cursor: str, sort: str, type_: type[SortValue], *, parts: int = 1, of: str = ""
) -> tuple[SortValue | None, UUID, int]:
    """The sort value (of type `type_`, or None), the id of the row after which to go on, and its part.

    Raises InvalidRequest, naming the query parameter `cursor`, for a text that is damaged or was never a
    cursor, for a cursor of another `sort` or of another list (`of`), and for a value that a column of this
    type cannot hold.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        content = raw[_HEAD_SIZE:]
        if raw[:_HEAD_SIZE] != _VERSION + _check(content):
            raise _invalid("It is damaged, or not a cursor of this service.")
        row_id = UUID(bytes=content[:_ID_SIZE])
        its_sort, plain, part, its_list = json.loads(content[_ID_SIZE:].decode())
        value = _typed(plain, type_)
        if type(part) is not int or not 0 <= part < parts:
            raise ValueError("no such part")
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _invalid("It is damaged, or not a cursor of this service.") from None
    if its_sort != sort:
        raise _invalid("It belongs to a list with another order. Start again without a cursor.")
    if its_list != of:
        raise _invalid("It belongs to a list with other filters. Start again without a cursor.")
    return value, row_id, part


def next_link(url: str) -> str:
    """The Link field value that leads to the next page (RFC 8288): `<url>; rel="next"`.

    Characters that a URL must not have, and that could end it early, are percent-encoded.
    """
    return f'<{quote(url, safe=URL_CHARACTERS, errors="replace")}>; rel="next"'


def _check(content: bytes) -> bytes:
    return hashlib.blake2s(content, digest_size=_CHECK_SIZE).digest()


def _typed(plain: Any, of: type[SortValue]) -> SortValue | None:
    """`plain` as an `of`; raises ValueError or OverflowError when it is none that PostgreSQL can hold."""
    if plain is None:
        return None
    if of is str and isinstance(plain, str) and "\0" not in plain:
        plain.encode()  # half a surrogate pair has no UTF-8: UnicodeEncodeError is a ValueError
        return plain
    if of is float and isinstance(plain, int | float) and math.isfinite(plain):
        return float(plain)
    if of in (int, datetime) and type(plain) is int and -(2**63) <= plain < 2**63:
        return plain if of is int else _EPOCH + plain * _MICROSECOND
    raise ValueError(f"not a sort value of type {of.__name__}")


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest("The cursor is not valid.", errors=[{"loc": ["query", "cursor"], "msg": reason}])
