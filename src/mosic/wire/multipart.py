"""Reads `multipart/form-data` (RFC 7578) as it arrives: chunks in, parts out, only headers are buffered.

python-multipart finds boundaries and headers. Here is what it leaves to its user: the preamble and the
epilogue, limits, the meaning of `Content-Disposition`, and that the form has an end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState

from mosic.errors import MalformedRequest
from mosic.wire.grammar import CONTROL
from mosic.wire.partheaders import boundary_of, disposition_of

_LARGE = 64 * 1024
_CONTROL = re.compile(CONTROL.encode("ascii"))


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """Limits of everything in a form but contents: bytes, or counts of `parts` and `headers_of_part`.

    The caller limits contents. Together these bound what a body may have beside its contents.
    """

    boundary: int = 70  # RFC 2046 §5.1.1
    preamble: int = 4096
    epilogue: int = 4096
    parts: int = 64
    headers_of_part: int = 16
    header_bytes_of_part: int = 8192
    name: int = 256


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part starts. `file_name` is None for a field and may be empty: a file input left empty.

    Names are as sent: they may have path separators and line ends, and may repeat, but never have NUL.
    `content_type` is the part's header as sent.
    """

    name: str
    file_name: str | None
    content_type: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part that began last; never empty. A view into the chunk that was fed."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that began last is complete."""


Event = PartBegin | PartData | PartEnd


class MultipartReader:
    """One body. Feed its chunks in order, then call `finish`.

    The events are the same however the body is cut into chunks, except for the cuts between `PartData`.
    All methods raise `MalformedRequest`; after that the reader cannot be used any more.
    """

    def __init__(self, content_type: str, *, limits: MultipartLimits | None = None) -> None:
        """`content_type`: the request's header."""
        self._limits = limits or MultipartLimits()
        self._delimiter = b"\r\n--" + boundary_of(content_type, self._limits.boundary)
        self._parser = MultipartParser(
            self._delimiter[4:],
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=self._limits.headers_of_part,
            max_header_size=self._limits.header_bytes_of_part,
        )
        self._events: list[Event] = []
        self._parts = 0
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        # A delimiter begins with a line end. The first one may lack it, so it is put in front of the body.
        self._preamble: bytearray | None = bytearray(b"\r\n")
        self._tail: bytes | bytearray = b"\r\n"
        self._ended = False
        self._epilogue = 0

    def feed(self, chunk: bytes | bytearray) -> list[Event]:
        """The events of `chunk`, in order; in linear time, whatever it has."""
        if self._preamble is not None:
            chunk = self._skip_preamble(self._preamble, chunk)
        if self._ended:
            self._epilogue += len(chunk)
        elif chunk:
            try:
                self._parse(chunk)
            except FormParserError as error:
                raise MalformedRequest(f"The form could not be read: {error}.") from None
            closing = self._delimiter + b"--"
            if self._ended:
                window = self._tail + chunk
                self._epilogue = len(window) - window.index(closing) - len(closing)
            else:
                kept = len(closing) - 1
                self._tail = chunk[-kept:] if len(chunk) >= kept else (self._tail + chunk)[-kept:]
        if self._epilogue > self._limits.epilogue:
            raise MalformedRequest("Too much follows the end of the form.")
        events, self._events = self._events, []
        return events

    def _parse(self, chunk: bytes | bytearray) -> None:
        """Give `chunk` to the parser, except for the data in the middle of a large one.

        The parser takes only `bytes`, so all would be copied, and it has nothing to do where no boundary is.
        """
        if isinstance(chunk, bytes) or len(chunk) < _LARGE:
            self._parser.write(bytes(chunk))
            return
        view, at = memoryview(chunk), len(self._delimiter)
        self._parser.write(bytes(view[:at]))
        # With an index other than 0 a boundary may have begun.
        if self._parser.state == MultipartState.PART_DATA and self._parser.index == 0:
            found = chunk.find(self._delimiter, at)
            end = found if found >= 0 else len(view) - len(self._delimiter)
            if end > at:
                self._events.append(PartData(view[at:end]))
            at = end
        self._parser.write(bytes(view[at:]))

    def finish(self) -> None:
        """To be called at the end of the body. Raises when the form has no end, as after a lost
        connection."""
        if not self._ended:
            raise MalformedRequest("The form ends before its closing boundary.")

    def _skip_preamble(self, preamble: bytearray, chunk: bytes | bytearray) -> bytes | bytearray:
        """The part of `chunk` (and of what was held back) from the first boundary on; empty while there is
        none.

        The parser must not do this: what it accepts before the first boundary depends on how the body is cut.
        """
        first = self._delimiter[2:]
        if len(preamble) == 2 and chunk.startswith((first + b"\r", first + b"-")):
            self._preamble = None
            return chunk
        preamble += chunk
        at = preamble.find(self._delimiter)
        least = at if at >= 0 else len(preamble) - len(self._delimiter) + 1
        if least > self._limits.preamble:
            raise MalformedRequest("The form does not begin with its boundary.")
        if at < 0:
            return b""
        end = at + len(self._delimiter)
        rest = bytes(preamble[end:]).lstrip(b" \t")
        # The parser does not take padding (RFC 2046 §5.1.1) behind the first boundary, only behind later
        # ones.
        if not rest and len(preamble) - end <= self._limits.preamble:
            return b""
        self._preamble = None
        return bytes(preamble[at + 2 : end]) + rest

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise MalformedRequest(f"The form has more than {self._limits.parts} parts.")
        self._headers = {}
        self._header_bytes = 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        name, value = bytes(self._name).lower(), bytes(self._value).strip(b" \t")
        self._header_bytes += len(self._name) + len(": \r\n") + len(self._value)
        self._name.clear()
        self._value.clear()
        if self._header_bytes > self._limits.header_bytes_of_part:
            raise MalformedRequest("The headers of a part are too large.")
        # A line that starts with the boundary is a delimiter (RFC 2046 §5.1.1), even if it looks like a
        # header. Control characters in a Content-Disposition are for `disposition_of`.
        odd = name != b"content-disposition" and _CONTROL.search(value)
        if name.startswith(self._delimiter[2:].lower()) or name in self._headers or odd:
            raise MalformedRequest("A part has a header that is not allowed.")
        self._headers[name] = value

    def _on_headers_finished(self) -> None:
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise MalformedRequest(
                "Encoded parts are not supported. Send the bytes without Content-Transfer-Encoding."
            )
        name, file_name = disposition_of(self._headers.get(b"content-disposition"), self._limits.name)
        content_type = self._headers.get(b"content-type")
        declared = None if content_type is None else content_type.decode("latin-1")
        self._events.append(PartBegin(name, file_name, declared))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(memoryview(data)[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(PartEnd())

    def _on_end(self) -> None:
        self._ended = True
