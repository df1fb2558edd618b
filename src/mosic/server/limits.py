"""How much a client may send that is no content, and how long it may take: docs/decisions/0015."""

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

HEAD_SECONDS = 30.0
"""How long a head may take, from the connection or from its first byte on. uvicorn has no limit: slow clients
on many connections could use up all descriptors."""

DRAIN_SECONDS = 5.0
"""How long the rest of a body is read and dropped once its request is answered."""

DRAIN_BYTES = 64 * 1024 * 1024
"""How much of it is."""

LINGER_SECONDS = 2.0
"""How long a client that takes nothing more may go on sending before its connection is closed. What it sends
then is answered by a reset, at which it may lose the response (RFC 9112 §9.6)."""
