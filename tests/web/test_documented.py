"""The OpenAPI document is complete: texts and examples everywhere, and every example is what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.service import AUTH, running_service

# Nobody reads bytes; a form is described by its members.
WITHOUT_EXAMPLE = ("audio/*", "application/octet-stream", "application/offset+octet-stream")
NOTHING = ("Successful Response", "Validation Error")


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def contents(operation: Any) -> Iterator[tuple[str, Any, bool]]:
    """Where it is, the content, and whether it is one of an error."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {kind}", content, False
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield f"{status} {kind}", content, status >= "400"


def examples(described: Any) -> list[Any]:
    if "example" in described:
        return [described["example"]]
    return [one["value"] if isinstance(one, dict) else one for one in _listed(described.get("examples"))]


def _listed(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else list(found or ())


def lacks(document: Any) -> Iterator[str]:
    for where, operation in operations(document):
        for name in ("summary", "description", "operationId"):
            if not operation.get(name):
                yield f"{where}: no {name}"
        for parameter in operation["parameters"]:
            at = f"{where}: parameter {parameter['name']}"
            if not parameter.get("description"):
                yield f"{at}: no description"
            if not examples(parameter) and not examples(parameter["schema"]):
                yield f"{at}: no example"
        for status, response in operation["responses"].items():
            if not response["description"] or response["description"] in NOTHING:
                yield f"{where}: {status}: no description"
            for name, field in response["headers"].items():
                if not field.get("description") or not examples(field):
                    yield f"{where}: {status}: {name}: no description or example"
        for at, content, _ in contents(operation):
            if at.split()[1] not in WITHOUT_EXAMPLE and not examples(content):
                yield f"{where}: {at}: no example"
    for name, schema in document["components"]["schemas"].items():
        for member, inner in schema.get("properties", {}).items():
            if not inner.get("description"):
                yield f"schema {name}: {member}: no description"


def wrong_examples(document: Any) -> Iterator[str]:
    def problem(value: Any, schema: Any) -> str | None:
        whole = {**schema, "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        found = next(iter(validator.iter_errors(value)), None)
        return None if found is None else found.message

    for where, operation in operations(document):
        described: list[tuple[str, Any]] = [(one["name"], one) for one in operation["parameters"]]
        for status, response in operation["responses"].items():
            described += [(f"{status} {name}", one) for name, one in response["headers"].items()]
        described += [(at, content) for at, content, _ in contents(operation)]
        for at, one in described:
            for value in examples(one):
                if said := problem(value, one["schema"]):
                    yield f"{where}: {at}: {said}"


@pytest.mark.parametrize("closed", [False, True])
async def test_everything_is_described(tmp_path: Path, database_url: URL, closed: bool) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), require_key_for_reads=closed
    ) as service:
        document = (await service.http.get("/openapi.json", headers=AUTH)).json()
    assert list(lacks(document)) == []
    assert list(wrong_examples(document)) == []
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for where, operation in operations(document):
        for at, content, is_error in contents(operation):
            if is_error:
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (where, at)
                for value in examples(content):
                    assert at.startswith(str(value["status"]))
