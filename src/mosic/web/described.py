"""What the OpenAPI document says beside what FastAPI finds out: header fields, and the order of things."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import FastAPI

from mosic.errors import InvalidRequest
from mosic.web.errors import problems
from mosic.web.examples import NoExample, example_of
from mosic.web.explained import FIELDS, OPERATIONS, SHARED_NAMES
from mosic.web.problem import Problem
from mosic.web.schemas import ClipEdit, ExternalClipIn
from mosic.wire import tus
from mosic.wire.trash import RESTORABLE_UNTIL

TAGS = [
    {"name": "clips", "description": "Add, find, edit, remove and stream audio."},
    {
        "name": "resumable uploads (tus 1.0.0)",
        "description": "For large files and bad connections, with any client of "
        "[tus](https://tus.io/protocols/resumable-upload).",
    },
    {"name": "operation", "description": "For operators of the service."},
]
"""In the order in which the pages show them."""

_TEXT: dict[str, Any] = {"type": "string"}
_SIZE: dict[str, Any] = {"type": "integer", "minimum": 0}
_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "Accept-Ranges": (_TEXT, "`bytes`: ranges may be requested."),
    "Cache-Control": (_TEXT, "What caches may do with the response (RFC 9111)."),
    "Content-Digest": (_TEXT, "`sha-256=:…:` of the body as it is sent (RFC 9530); verified."),
    "Content-Disposition": (_TEXT, "A name for the file (RFC 6266)."),
    "Content-Location": (_TEXT, "The clip made from the upload."),
    "Content-Range": (_TEXT, "Which bytes these are, or the size of the file (RFC 9110 §14.4)."),
    "ETag": (_TEXT, "For `If-Match` and `If-None-Match`."),
    "If-Match": (_TEXT, "Only if this is the current ETag; otherwise 412."),
    "If-Modified-Since": (_TEXT, "Only if it has changed since; otherwise 304."),
    "If-None-Match": (_TEXT, "Only if this is not the current ETag; otherwise 304."),
    "If-Range": (_TEXT, "The range if this is the current ETag or date; otherwise the whole file."),
    "If-Unmodified-Since": (_TEXT, "Only if it has not changed since; otherwise 412."),
    "Last-Modified": (_TEXT, "When the bytes were uploaded."),
    "Location": (_TEXT, "The URL of what was made."),
    RESTORABLE_UNTIL: (
        _TEXT,
        "Until when the clip can be restored (RFC 9110 date); absent when it was removed for good.",
    ),
    "Range": (_TEXT, "Which bytes to send (RFC 9110 §14.2), such as `bytes=0-65535`."),
    "Repr-Digest": (_TEXT, "`sha-256=:…:` of the file (RFC 9530); verified."),
    "Retry-After": (_SIZE, "Seconds to wait before trying again."),
    "Tus-Checksum-Algorithm": (_TEXT, "For `Upload-Checksum`."),
    "Tus-Extension": (_TEXT, "The supported extensions."),
    "Tus-Max-Size": (_SIZE, "Most bytes of an upload."),
    "Tus-Resumable": ({"type": "string", "enum": [tus.VERSION]}, "The version of the protocol."),
    "Tus-Version": (_TEXT, "The supported versions."),
    "Upload-Checksum": (_TEXT, "`sha256 ` or `sha1 ` and the base64 of the digest of this body; verified."),
    "Upload-Defer-Length": ({"type": "string", "enum": ["1"]}, "The length is not known yet."),
    "Upload-Expires": (_TEXT, "When the upload is removed unless more bytes arrive (RFC 9110 date)."),
    "Upload-Length": (_SIZE, "Bytes of the whole file."),
    "Upload-Metadata": (_TEXT, "`filename`, `title`, … each with its base64, separated by commas."),
    "Upload-Offset": (_SIZE, "Bytes received so far."),
    "Vary": (_TEXT, "The request fields that the response depends on (RFC 9110 §12.5.5)."),
    "WWW-Authenticate": (_TEXT, "How to authenticate."),
    "X-Content-Type-Options": (_TEXT, "`nosniff`."),
    "X-Request-ID": (_TEXT, "Identifies the request in the log; an id from the client is kept."),
}

_CLIP = "/play/{clip_id}"
_BYTES = f"{_CLIP}/audio"
_STREAM = f"{_CLIP}/stream"
_WAVEFORM = f"{_CLIP}/waveform"
_TUS = "/play/uploads"
_UPLOAD = f"{_TUS}/{{upload_id}}"
_DIGESTS = ("Repr-Digest", "Content-Digest")
_EDITING = ("If-Match", "If-Unmodified-Since")
_MADE = ("Location", "ETag", "Cache-Control")
_AUDIO = ("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition", "Cache-Control")
_DRAWN = ("ETag", "Accept-Ranges", "Content-Disposition", "Cache-Control")
_PROGRESS = ("Tus-Resumable", "Upload-Offset", "Upload-Expires", "Content-Location")

_REQUIRED = {("patch", _UPLOAD): ("Upload-Offset",)}
REQUESTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("post", "/play"): _DIGESTS,
    ("post", "/play/upload"): _DIGESTS,
    ("put", "/play/upload"): _DIGESTS,
    ("patch", _CLIP): _EDITING,
    ("delete", _CLIP): _EDITING,
    ("put", _BYTES): (*_EDITING, *_DIGESTS),
    ("get", _STREAM): ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", _EDITING[1]),
    ("get", _WAVEFORM): ("Range", "If-Range", "If-Match", "If-None-Match", _EDITING[1]),
    ("post", _TUS): (
        *("Tus-Resumable", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata"),
        *("Upload-Checksum", "Repr-Digest"),
    ),
    ("patch", _UPLOAD): ("Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Checksum"),
    ("head", _UPLOAD): ("Tus-Resumable",),
    ("delete", _UPLOAD): ("Tus-Resumable",),
}
RESPONSES: Mapping[tuple[str, str, str], tuple[str, ...]] = {
    ("get", "/play", "200"): ("Cache-Control",),
    ("post", "/play", "200"): _MADE,
    ("post", "/play", "201"): _MADE,
    ("post", "/play/upload", "200"): _MADE,
    ("post", "/play/upload", "201"): _MADE,
    ("put", "/play/upload", "200"): _MADE,
    ("put", "/play/upload", "201"): _MADE,
    ("get", _CLIP, "200"): ("ETag", "Cache-Control"),
    ("patch", _CLIP, "200"): ("ETag", "Cache-Control"),
    ("put", _BYTES, "200"): ("ETag", "Cache-Control"),
    ("post", f"{_CLIP}/restore", "200"): ("ETag", "Cache-Control"),
    ("delete", _CLIP, "204"): (RESTORABLE_UNTIL,),
    ("get", f"{_CLIP}/stats", "200"): ("Cache-Control",),
    ("get", "/play/top", "200"): ("Cache-Control",),
    ("get", f"{_CLIP}/chapters", "200"): ("Cache-Control",),
    ("get", f"{_CLIP}/lyrics", "200"): ("Cache-Control",),
    ("get", f"{_CLIP}/works", "200"): ("Cache-Control",),
    ("get", _STREAM, "200"): _AUDIO,
    ("get", _STREAM, "206"): (*_AUDIO, "Content-Range"),
    ("get", _STREAM, "304"): ("ETag", "Last-Modified", "Cache-Control", "Accept-Ranges"),
    ("get", _STREAM, "307"): ("Location", "Cache-Control"),
    ("get", _WAVEFORM, "200"): _DRAWN,
    ("get", _WAVEFORM, "202"): ("Retry-After", "Cache-Control"),
    ("get", _WAVEFORM, "206"): (*_DRAWN, "Content-Range"),
    ("get", _WAVEFORM, "304"): ("ETag", "Cache-Control", "Accept-Ranges"),
    ("post", _TUS, "201"): ("Location", *_PROGRESS),
    ("options", _TUS, "204"): (
        *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    ),
    ("patch", _UPLOAD, "204"): _PROGRESS,
    ("delete", _UPLOAD, "204"): ("Tus-Resumable",),
    ("get", _UPLOAD, "200"): (*_PROGRESS, "Cache-Control"),
    ("head", _UPLOAD, "200"): (
        *(*_PROGRESS, "Cache-Control", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata"),
    ),
    ("get", "/metrics", "200"): ("Cache-Control", "Vary"),
}
_EVERYWHERE = ("X-Request-ID", "X-Content-Type-Options")
_OF_STATUS = {
    "401": ("WWW-Authenticate",),
    "416": ("Accept-Ranges", "Content-Range"),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


# What FastAPI adds to every operation with parameters, and says of every success.
_UNLIKE_OURS = "/HTTPValidationError"
_SAYS_NOTHING = "Successful Response"


def describe(api: FastAPI) -> None:
    """Let the OpenAPI document of `api` name the header fields of its routes, and show clips first."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = generate()
            api.openapi_schema = _described(schema)
        return api.openapi_schema or {}

    api.openapi = openapi  # type: ignore[method-assign]


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    shared = schema["components"]["schemas"]
    for model in (ClipEdit, ExternalClipIn, Problem):
        shared.setdefault(model.__name__, model.model_json_schema())
    for unused in ("HTTPValidationError", "ValidationError"):
        shared.pop(unused, None)
    for one in shared.values():
        _explain_members(one)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            known = {one["name"]: _explained(one) for one in operation.get("parameters", ())}
            for name in REQUESTS.get((method, path), ()):
                known[name] = _parameter(name, required=name in _REQUIRED.get((method, path), ()))
            operation["parameters"] = list(known.values())
            meaning, success = OPERATIONS.get((method, path), (None, None))
            if meaning is not None:
                operation.setdefault("description", meaning)
            _illustrate(operation.get("requestBody", {}), shared)
            responses = operation["responses"]
            if _UNLIKE_OURS in str(responses.get("422")):
                responses["422"] = problems(InvalidRequest)[422]
            for status, response in responses.items():
                if response["description"] == _SAYS_NOTHING and success is not None:
                    response["description"] = success
                _illustrate(response, shared)
                names = (
                    *RESPONSES.get((method, path, status), ()),
                    *_OF_STATUS.get(status, ()),
                    # `TusDialect` adds it to whatever is answered there.
                    *(("Tus-Resumable",) if path.startswith(_TUS) else ()),
                    *_EVERYWHERE,
                )
                response["headers"] = {name: _header(name) for name in names} | {
                    name: _with_example(name, field) for name, field in response.get("headers", {}).items()
                }
    tags = [tag["name"] for tag in TAGS]

    def place(item: tuple[str, dict[str, Any]]) -> int:
        (tag,) = next(iter(item[1].values()))["tags"]
        return tags.index(tag)

    schema["paths"] = dict(sorted(schema["paths"].items(), key=place))
    return schema


def _explained(parameter: dict[str, Any]) -> dict[str, Any]:
    """With the text and the example that every parameter of this name has, where it has none itself."""
    schema = parameter.get("schema", {})
    text, example = SHARED_NAMES.get(parameter["name"], (None, None))
    text = parameter.get("description") or schema.get("description") or text
    known = parameter if text is None else {**parameter, "description": text}
    if "example" in known or "examples" in known or "examples" in schema:
        return known
    if "default" in schema:
        example = schema["default"]
    return known if example is None else {**known, "example": example}


def _explain_members(schema: dict[str, Any]) -> None:
    for name, member in schema.get("properties", {}).items():
        text, example = SHARED_NAMES.get(name, (None, None))
        # Null here means that there is no default. Generators take it for a value.
        if member.get("default", ...) is None:
            del member["default"]
        if text is not None:
            member.setdefault("description", text)
        refers = "$ref" in str(member)
        if example is not None and not refers and not {"examples", "enum", "const"} & set(member):
            member["examples"] = [example]
        _explain_members(member)


def _illustrate(body: dict[str, Any], shared: Mapping[str, Any]) -> None:
    """Adds an example to each content that has none; bytes need none."""
    for kind, content in body.get("content", {}).items():
        schema = content.get("schema", {})
        if kind == "multipart/form-data":
            _explain_members(schema)
        if schema.get("format") == "binary" or "example" in content or "examples" in content:
            continue
        # The rule finds what has none; the document is shown nevertheless.
        with suppress(NoExample):
            content["example"] = example_of(schema, shared)


def _with_example(name: str, field: dict[str, Any]) -> dict[str, Any]:
    return {"example": FIELDS[name], **field} if name in FIELDS else field


def _parameter(name: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required or name == "Tus-Resumable", **_header(name)}


def _header(name: str) -> dict[str, Any]:
    schema, description = _FIELDS[name]
    return _with_example(name, {"description": description, "schema": schema})
