"""Forms as an attacker would send them: without end, or to cost much."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from mosic.errors import MalformedRequest
from mosic.wire.multipart import MultipartLimits, MultipartReader
from tests.support.multipart import (
    BODY,
    BOUNDARY,
    CONTENT_TYPE,
    DELIMITER,
    TITLE,
    TRAPS,
    Part,
    form,
    one,
    read,
)
from tests.support.programs import needs


@pytest.mark.parametrize("cut_small", [False, True])
@pytest.mark.parametrize(
    ("limits", "fits", "too_much"),
    [
        (MultipartLimits(parts=2), form((TITLE, b""), (TITLE, b"")), form(*[(TITLE, b"")] * 3)),
        (
            MultipartLimits(headers_of_part=2),
            form((TITLE + b"\r\nX: 1", b""), (TITLE + b"\r\nY: 1", b"")),
            form((TITLE + b"\r\nX: 1\r\nY: 1", b"")),
        ),
        (MultipartLimits(name=5), form((TITLE, b"")), form((TITLE.replace(b"title", b"title2"), b""))),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE + b"\r\nX: " + b"y" * 90, b""), (TITLE + b"\r\nX: " + b"y" * 90, b"")),
            form((TITLE + b"\r\nX: " + b"y" * 50 + b"\r\nZ: " + b"y" * 50, b"")),
        ),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE, b"")),
            form((TITLE + b"\r\nX: " + b"y" * 200, b"")),
        ),
        (
            MultipartLimits(header_bytes_of_part=len(TITLE) + 100),
            form((TITLE, b"")),
            form((TITLE + b"\r\n" + b"X" * 200 + b": y", b"")),
        ),
        (MultipartLimits(preamble=9), b"a\r\n-b---\r\n"[1:] + BODY, b"a\r\n-b---\r\n" + BODY),
        (MultipartLimits(preamble=0), BODY, b"\r\n" + BODY),
        (MultipartLimits(epilogue=3), BODY + b"a", BODY + b"ab"),  # the line end counts
        (MultipartLimits(epilogue=0), BODY[:-2], BODY),
        (MultipartLimits(epilogue=50), BODY, BODY + DELIMITER + b"--" * 10),
    ],
)
def test_limits(limits: MultipartLimits, fits: bytes, too_much: bytes, cut_small: bool) -> None:
    def chunks(body: bytes) -> list[bytes]:
        return [body[at : at + 1] for at in range(len(body))] if cut_small else [body]

    read(chunks(fits), limits=limits)
    with pytest.raises(MalformedRequest):
        read(chunks(too_much), limits=limits)


MEBIBYTE = 1024 * 1024


def refused_after(body: Iterable[bytes]) -> int:
    """How many bytes were read before the form was refused."""
    reader = MultipartReader(CONTENT_TYPE)
    seen = 0
    for chunk in body:
        seen += len(chunk)
        try:
            reader.feed(chunk)
        except MalformedRequest:
            return seen
    pytest.fail("was not refused")


@pytest.mark.parametrize("filler", [b"\r", b"\n", b"\r\n", b"-", b"x", b"\r\n--", DELIMITER[:-1] + b"\r\n"])
def test_an_endless_preamble_is_refused_early(filler: bytes) -> None:
    """CVE-2024-53981 and its kin: bytes before the first boundary were read one by one, and logged."""
    chunk = filler * (4096 // len(filler))
    assert refused_after([chunk] * 1000) <= 3 * 4096


@pytest.mark.parametrize("filler", [b"\r\n", b"x", DELIMITER, DELIMITER + b"--"])
def test_an_endless_epilogue_is_refused_early(filler: bytes) -> None:
    chunk = filler * (4096 // len(filler))
    assert refused_after([BODY, *[chunk] * 1000]) <= len(BODY) + 3 * 4096


def test_endless_parts_are_refused_early() -> None:
    part = b"--" + BOUNDARY.encode() + b"\r\n" + TITLE + b"\r\n\r\n\r\n"
    assert refused_after([part] * 10_000) <= 65 * len(part)


def test_endless_headers_are_refused_early() -> None:
    head = b"--" + BOUNDARY.encode() + b"\r\n"
    assert refused_after([head, *(b"X%d: y\r\n" % n for n in range(10_000))]) < 1024
    assert refused_after([head, b"X: ", *[b"y" * 1024] * 1000]) < 10 * 1024
    assert refused_after([head, *[b"X" * 1024] * 1000]) < 10 * 1024
    assert refused_after([head, b"X:", *[b" " * 1024] * 1000]) < 10 * 1024


@pytest.mark.parametrize(
    "filler",
    [
        b"\r",
        b"\r\n",
        b"-",
        b"\r\n--",
        DELIMITER[:-1],
        DELIMITER[:-1] + b"\r",
        DELIMITER + b"x",
        DELIMITER + b"-x",
        DELIMITER + b"\r",
    ],
)
@pytest.mark.parametrize("size", [1000, 65536, 8 * MEBIBYTE])
def test_hostile_content_costs_no_more_than_its_size(filler: bytes, size: int) -> None:
    """Were the search for a boundary quadratic, the largest of these would take hours."""
    head, tail = BODY[: BODY.index(TRAPS)], DELIMITER + b"--"
    chunk = (filler * (size // len(filler) + 1))[:size]
    count = 1 if size > MEBIBYTE else 20
    content = read([head, *[chunk] * count, tail])[1].content
    assert content == chunk * count


def test_hostile_header_values_cost_no_more_than_their_size() -> None:
    limits = MultipartLimits(header_bytes_of_part=4 * MEBIBYTE)
    for value in (
        b'"' + b"\\" * MEBIBYTE,
        b";" * MEBIBYTE,
        b'="' * MEBIBYTE,
        b"; a" * MEBIBYTE,
        b"%22" * MEBIBYTE,
    ):
        with suppress(MalformedRequest):
            read([one(b"; name=" + value)], limits=limits)


@needs("curl")
@pytest.mark.parametrize("escape", [False, True], ids=["percent", "backslash"])
async def test_what_curl_sends(tmp_path: Path, escape: bool) -> None:
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        received.extend(head + await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    content = random.Random(7).randbytes(100_000)
    (tmp_path / 'a"b\\ü.mp3').write_bytes(content)
    command = ["curl", "-sS", "-F", "title=Größe", "-F", 'file=@"a\\"b\\\\ü.mp3";type=audio/mpeg']
    command += ["--form-escape"] * escape + [f"http://127.0.0.1:{port}/"]
    async with server:
        done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr

    head, _, body = bytes(received).partition(b"\r\n\r\n")
    (content_type,) = [
        line for line in head.decode().split("\r\n") if line.lower().startswith("content-type:")
    ]
    assert read([body], content_type.partition(":")[2].strip()) == [
        Part("title", None, None, "Größe".encode()),
        Part("file", 'a"b\\ü.mp3', "audio/mpeg", content),
    ]
