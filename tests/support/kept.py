"""A connection to a database of the tests that is kept from one test to the next: to make one takes longer
than most of what is done over it."""

from __future__ import annotations

import asyncpg
from sqlalchemy import URL


class KeptConnection:
    def __init__(self, url: URL) -> None:
        self.url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def execute(self, statement: str) -> None:
        """A test may have cut the connection: then there is a new one."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                host=self.url.host, port=self.url.port, user=self.url.username, database=self.url.database
            )
        await self._connection.execute(statement)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
