"""Many listeners at the pace of their music: does one of them ever wait, and what does each cost?"""

from __future__ import annotations

import asyncio
import resource
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

RATE = 16_000
"""Bytes a second: 128 kbit/s."""

# Players read as the music plays, in small steps, and hold little.
_STEP_SECONDS = 0.5
_HOLD_BYTES = 16 * 1024
_PATIENCE = 0.1


@dataclass
class Heard:
    listeners: int = 0
    failed: int = 0
    stalls: int = 0
    """Steps whose bytes came more than `_PATIENCE` after they were to be played."""

    longest: float = 0.0
    """The longest wait for them, in seconds."""


async def _listen(url: str, path: str, ends: float, heard: Heard) -> None:
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    with socket.socket() as player:
        player.setblocking(False)
        # Before it connects, so that the window offered to the server is as small from the start.
        player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _HOLD_BYTES)
        try:
            await loop.sock_connect(player, (address.hostname, address.port))
            await loop.sock_sendall(player, f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            head = await loop.sock_recv(player, 1024)
            if not head.startswith(b"HTTP/1.1 200"):
                heard.failed += 1
                return
            heard.listeners += 1
            due = loop.time()
            step = int(RATE * _STEP_SECONDS)
            while due < ends:
                due += _STEP_SECONDS
                await asyncio.sleep(due - loop.time())
                left = step
                while left:
                    try:
                        piece = player.recv(left)
                    except BlockingIOError:
                        since = loop.time()
                        piece = await loop.sock_recv(player, left)
                        waited = loop.time() - since
                        heard.longest = max(heard.longest, waited)
                        heard.stalls += waited > _PATIENCE
                    if not piece:
                        heard.failed += 1
                        return
                    left -= len(piece)
        except OSError:
            heard.failed += 1


async def _all(url: str, path: str, count: int, seconds: float) -> Heard:
    heard = Heard()
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_listen(url, path, ends, heard))
            # They come within two seconds, so that their steps do not all fall on one moment.
            await asyncio.sleep(2 / count)
    return heard


def listen(url: str, path: str, count: int, seconds: float) -> Heard:
    """`count` listeners for `seconds`; needs as many descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return asyncio.run(_all(url, path, count, seconds))


def kernel_buffers() -> int:
    """Bytes that the kernel holds for TCP on the whole machine, for both ends of a connection here."""
    with open("/proc/net/sockstat") as lines:
        for line in lines:
            if line.startswith("TCP:"):
                return int(line.split()[-1]) * resource.getpagesize()
    return 0
