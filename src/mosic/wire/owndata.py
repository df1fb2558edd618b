"""An app's own JSON object on a clip (`metadata`), as it comes from outside."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_BYTES = 16 * 1024
"""Of the whole object as JSON in UTF-8, with its numbers written without an exponent."""

MAX_DEPTH = 32
"""Objects and arrays within each other, the outermost one included."""

_MAX_DIGITS = 400


def own_data(value: Any) -> dict[str, Any]:
    """The value, if it is an object that can be kept and sent back unchanged; raises `ValueError`."""
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    numbers = _check(value, 1)
    if len(json.dumps(value, ensure_ascii=False).encode()) + numbers > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes as JSON")
    return value


def own_data_from(text: str) -> dict[str, Any]:
    """The same of JSON text. Raises `ValueError`."""
    try:
        value = json.loads(text, object_pairs_hook=unique_names)
    except json.JSONDecodeError:
        raise ValueError("must be a JSON object") from None
    except RecursionError:
        raise ValueError(f"must not be nested deeper than {MAX_DEPTH}") from None
    return own_data(value)


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396 §2: members of the patch that are null go, objects are merged, all else is replaced."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def same_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are equal as JSON: unlike in Python, true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`. Raises `ValueError` for an object with two members of one name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("must not have two members of one name")
    return found


def _check(value: Any, depth: int) -> int:
    """How many more bytes its numbers take where they are written without an exponent, as PostgreSQL does."""
    match value:
        case dict() | list():
            if depth > MAX_DEPTH:
                raise ValueError(f"must not be nested deeper than {MAX_DEPTH}")
            items = value.values() if isinstance(value, dict) else value
            if isinstance(value, dict):
                for name in value:
                    _check(name, depth)
            return sum(_check(item, depth + 1) for item in items)
        case str():
            if "\x00" in value:
                raise ValueError("must not contain NUL characters")
            if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
                raise ValueError("must not contain lone surrogates")
        case float():
            if not math.isfinite(value):
                raise ValueError("must contain only numbers that a double can hold")
            return len(f"{Decimal(repr(value)):f}")
        case int() if not isinstance(value, bool) and abs(value) >= 10**_MAX_DIGITS:
            raise ValueError(f"must contain only whole numbers of at most {_MAX_DIGITS} digits")
    return 0
