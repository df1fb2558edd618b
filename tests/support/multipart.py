"""Bodies of `multipart/form-data`, and what the reader makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mosic.errors import MalformedRequest
from mosic.wire.multipart import MultipartLimits, MultipartReader, PartBegin, PartData, PartEnd

BOUNDARY = "----WebKitFormBoundaryeBAyEsjSS43Zk8vd"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
DELIMITER = b"\r\n--" + BOUNDARY.encode()


@dataclass
class Part:
    name: str
    file_name: str | None
    content_type: str | None
    content: bytes


def read(
    chunks: Iterable[bytes | bytearray],
    content_type: str = CONTENT_TYPE,
    limits: MultipartLimits | None = None,
) -> list[Part]:
    reader = MultipartReader(content_type, limits=limits)
    parts: list[Part] = []
    open_part = False
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, PartBegin):
                assert not open_part
                open_part = True
                parts.append(Part(event.name, event.file_name, event.content_type, b""))
            elif isinstance(event, PartData):
                assert open_part
                assert len(event.data) > 0
                parts[-1].content += event.data
            else:
                assert isinstance(event, PartEnd)
                assert open_part
                open_part = False
    reader.finish()
    assert not open_part
    return parts


def form(*parts: tuple[bytes, bytes], boundary: str = BOUNDARY) -> bytes:
    """A body from (headers, content) pairs, as RFC 2046 §5.1.1 writes it."""
    line = b"--" + boundary.encode()
    sections = [line + b"\r\n" + headers + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts]
    return b"".join(sections) + line + b"--\r\n"


def one(disposition: bytes, content: bytes = b"x") -> bytes:
    return form((b"Content-Disposition: form-data" + disposition, content))


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(body)]
    return [body[start:stop] for start, stop in pairwise(edges)]


def outcome(chunks: Iterable[bytes]) -> list[Part] | None:
    """The parts, or None for a refusal. Nothing else may come out."""
    try:
        return read(chunks)
    except MalformedRequest:
        return None


TITLE = b'Content-Disposition: form-data; name="title"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg'
# Everything that looks like a boundary but is not one.
TRAPS = b"".join(
    (
        b"\r\n--",
        DELIMITER[:-1],
        b"\r\r\n" + DELIMITER[2:-4],
        b"\n--" + BOUNDARY.encode(),
        b"--" + BOUNDARY.encode(),
        b"\r" * 80,
        DELIMITER[:5] + DELIMITER[:-2],
    )
)
BODY = form((TITLE, "Größe".encode()), (FILE, TRAPS * 2), (TITLE.replace(b"title", b"empty"), b""))
PARTS = [
    Part("title", None, None, "Größe".encode()),
    Part("file", "a.mp3", "audio/mpeg", TRAPS * 2),
    Part("empty", None, None, b""),
]
