"""Upload a file with tuspy or aiotus: `tus_client.py tuspy|aiotus <options as JSON>`; prints its address.

A process of its own, as these clients leave files open and may be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


def with_tuspy(options: dict[str, Any]) -> str:
    from tusclient.client import TusClient
    from tusclient.storage.filestorage import FileStorage
    from tusclient.uploader.uploader import Uploader

    class Slow(Uploader):
        def upload_chunk(self) -> None:
            time.sleep(options["pause"])
            super().upload_chunk()  # type: ignore[no-untyped-call]

    remembered = options["urls"] and FileStorage(options["urls"])  # type: ignore[no-untyped-call]
    uploader = Slow(
        options["file"],
        url=options["url"],
        client=TusClient(options["endpoint"], headers={"X-API-Key": options["key"]}),
        chunk_size=options["chunk"] or sys.maxsize,
        metadata={"filename": options["name"]},
        retries=options["retries"],
        retry_delay=0.1,  # type: ignore[arg-type]
        upload_checksum=options["checksum"],
        store_url=bool(remembered),
        url_storage=remembered or None,
    )
    uploader.upload(options["stop_at"])
    return str(uploader.url)


async def with_aiotus(options: dict[str, Any]) -> str:
    import aiohttp
    import aiotus
    import yarl
    from aiotus import core

    headers, chunk = {"X-API-Key": options["key"]}, options["chunk"] or 10**9

    class Slow:
        """A file from a slow disk."""

        def __init__(self) -> None:
            self.file = open(options["file"], "rb")  # noqa: SIM115
            self.seek = self.file.seek

        def read(self, size: int) -> bytes:
            time.sleep(options["pause"])
            return self.file.read(size)

    file: Any = Slow()
    if options["url"]:
        url = yarl.URL(options["url"])
        async with aiohttp.ClientSession() as session:
            await core.upload_buffer(session, url, file, chunksize=chunk, headers=headers)
        return str(url)
    config = aiotus.RetryConfiguration(options["retries"] + 1, max_retry_period_seconds=0.1)
    metadata = {"filename": options["name"].encode()}
    location = await aiotus.upload(
        options["endpoint"], file, metadata, config=config, headers=headers, chunksize=chunk
    )
    if location is None:
        sys.exit("aiotus gave up")
    return str(location)


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    print(with_tuspy(given) if sys.argv[1] == "tuspy" else asyncio.run(with_aiotus(given)))
