"""Ids in paths: UUIDs in their one canonical form."""

from __future__ import annotations

import re
from uuid import UUID

# RFC 9562 §4. `uuid.UUID` takes much more: braces, `urn:uuid:`, hyphens anywhere, `+1`, digits of other
# scripts. One clip would then have many URLs, and a rule of a proxy or a cache for one would miss the others.
CANONICAL = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
"""A regular expression."""

_CANONICAL = re.compile(CANONICAL)


def is_uuid(text: str) -> bool:
    """Whether `parse_uuid` takes it."""
    return _CANONICAL.fullmatch(text) is not None


def parse_uuid(text: str) -> UUID:
    """The UUID that `text` spells in the form of RFC 9562 §4 (8-4-4-4-12 hexadecimal digits, in either case,
    as it says); raises ValueError for any other spelling."""
    if not is_uuid(text):
        raise ValueError("not a UUID in its canonical form")
    return UUID(text)
