"""Ids in paths."""

from __future__ import annotations

from uuid import UUID

import pytest

from mosic.wire.ids import parse_uuid

KNOWN = "01935b7e-89ab-7def-8123-456789abcdef"


def odd_spellings(text: str) -> list[str]:
    """What Python's own `UUID` takes for the same, and some that look the same."""
    return [
        text.replace("-", ""),
        f"{{{text}}}",
        f"urn:uuid:{text}",
        f"uuid:{text}",
        "+" + text[1:],
        " " + text[1:],
        text[0] + "_" + text[2:],
        f" {text}",
        f"{text} ",
        f"{text}\n",
        text.replace("-", "--"),
        text[1:] + "-" + text[:1],
        text.translate({ord("0") + digit: chr(0x660 + digit) for digit in range(10)}),
        text.translate({ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)}),
        text.replace("-", "\u2010"),
        text.replace("-", "", 1),
        text[:-1],
        text + "0",
        "",
        "0x" + text[2:],
    ]


def test_the_canonical_form() -> None:
    """RFC 9562 §4: output in lower case, input in either."""
    assert parse_uuid(KNOWN) == parse_uuid(KNOWN.upper()) == UUID(KNOWN)


@pytest.mark.parametrize("text", odd_spellings(KNOWN))
def test_no_other_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="canonical"):
        parse_uuid(text)
