"""Examples of bodies, made of those of their members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "#/components/schemas/"


class NoExample(LookupError):
    """A member, which the message names, has no example."""


def example_of(schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "") -> Any:
    """A value that the schema allows. Raises `NoExample`."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].removeprefix(_PREFIX)], components, name)
    for key in ("example", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf", "allOf"):
        for choice in schema.get(key, ()):
            if choice.get("type") != "null":
                return example_of(choice, components, name)
    if "properties" in schema:
        return {
            member: example_of(inner, components, f"{name}.{member}")
            for member, inner in schema["properties"].items()
        }
    if schema.get("type") == "array":
        return [example_of(schema["items"], components, f"{name}[]")]
    raise NoExample(name or "body")
