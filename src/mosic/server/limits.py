"""What a client may send that is no content: docs/decisions/0015. How long it may take is in `Timings`."""

from __future__ import annotations

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of request line and header section; also of the trailer section, and of what frames a chunked body
beyond `FRAMING_PER_BYTE`. The parser has no limit of its own, and joins a line that grows again and again:
100 MB of one line would cost twice the memory and seconds of the loop."""

FRAMING_PER_BYTE = 16
"""Bytes of chunk sizes and extensions for each byte of content that are not counted: a sender may send every
byte as a chunk of its own."""

MAX_AHEAD = 1000
"""Requests that a client may send ahead of the responses. uvicorn takes any number, at 2.5 KiB of memory for
each of 18 bytes, and reads on after every response: 20 MB of them on one connection took 1 GB."""

DRAIN_BYTES = 64 * 1024 * 1024
"""How much of the rest of a body is read and dropped once its request is answered."""
