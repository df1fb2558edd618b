"""A bad network: a TCP proxy that cuts connections, or lets them hang, after so many bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.support.resets import reset

How = Literal["cut", "hang"]


@dataclass
class FlakyNetwork:
    """`troubles`: after how many bytes towards the server, counted from one to the next, what happens.

    `cut`: both sides are told, the server after the last byte. `hang`: the client is told; the server keeps a
    connection on which nothing comes any more, as when a laptop is closed.
    """

    target: int
    troubles: list[tuple[int, How]]
    port: int = 0
    bytes_up: int = 0
    happened: list[How] = field(default_factory=list)
    _since: int = 0
    _hanging: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(to_client)
            return
        down = asyncio.create_task(_pump(server, to_client))
        try:
            while chunk := await client.read(65536):
                self.bytes_up += len(chunk)
                self._since += len(chunk)
                to_server.write(chunk)
                await to_server.drain()
                if self.troubles and self._since >= self.troubles[0][0]:
                    how = self.troubles.pop(0)[1]
                    self._since = 0
                    self.happened.append(how)
                    reset(to_client)
                    if how == "hang":
                        self._hanging.append(to_server)
                    return
        except ConnectionError:
            pass
        finally:
            if to_server not in self._hanging:
                to_server.close()
            down.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await down
            to_client.close()

    def end(self) -> None:
        for writer in self._hanging:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def flaky_network(target: int, *troubles: tuple[int, How]) -> AsyncIterator[FlakyNetwork]:
    """In front of the port `target` of this machine."""
    network = FlakyNetwork(target, list(troubles))
    server = await asyncio.start_server(network.serve, "127.0.0.1", 0)
    network.port = server.sockets[0].getsockname()[1]
    try:
        yield network
    finally:
        network.end()
        server.close()
