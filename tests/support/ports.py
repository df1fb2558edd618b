"""Ports of this machine, and programs that listen on them."""

from __future__ import annotations

import asyncio
import random
import socket
from asyncio.subprocess import Process
from collections.abc import Callable

from tests.support.waiting import until

_random = random.SystemRandom()


def free_port() -> int:
    """Not one of those that the system gives to whoever asks for any: nobody has it before the test does."""
    while True:
        port = _random.randrange(12_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def listening(process: Process, port: int, said: Callable[[], object] = str) -> None:
    """Until the program does so; `said` is what it said, for the case that it ends instead."""

    async def does() -> bool:
        assert process.returncode is None, said()
        return await listens(port)

    await until(does, said)


async def end(process: Process) -> None:
    """As somebody who stops a service: by SIGTERM."""
    if process.returncode is None:
        process.terminate()
    await process.wait()
