"""A process that dies before or after the n-th call that changes the disk or the database.

What it does is real, only the moment is chosen. One process imports everything, once; each line that it reads
says what a child of it is to do, and it answers with the child's exit status.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from asyncpg import Connection
from asyncpg.transaction import Transaction

from mosic.boot import open_runtime
from mosic.core.catalog import remove_clip
from mosic.core.ingest import Hints, ingest
from mosic.core.replace import replace_audio
from mosic.core.runtime import Runtime
from mosic.core.uploads.append import append
from mosic.metrics import Metrics
from mosic.settings import load_settings
from mosic.staging import Incoming
from mosic.wire.tus import Append, Checksum

HALF = 1000
Dies = Callable[..., bool]


@contextmanager
def dying(rt: Runtime) -> Iterator[Dies]:
    """What tells whether a process came to the end: it is killed at the step, if there is one."""
    url = rt.settings.database_url_override
    assert url
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MOSIC_API_KEY": "k",
            "MOSIC_DATABASE_URL_OVERRIDE": url.get_secret_value(),
            "MOSIC_DATA_DIR": str(rt.settings.data_dir),
            "MOSIC_MEDIA_ROOT": str(rt.settings.media_root),
            "MOSIC_PROBE_WORKERS": "1",
            "MOSIC_TRASH_DAYS": str(rt.settings.trash_days),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    told, answers = process.stdin, process.stdout
    assert told
    assert answers

    def dies(step: int, what: str, subject: str = "", content: bytes = b"") -> bool:
        told.write(json.dumps([step, what, subject, content.hex()]) + "\n")
        told.flush()
        status = int(answers.readline())
        assert status in (0, -signal.SIGKILL), "what it says is in the captured output"
        return status == 0

    with process:
        try:
            yield dies
        finally:
            told.close()


class Steps:
    """Counts the calls of the child, from when it is told to."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            done = call(*args, **kwargs)
            self.step()
            return done

        return wrapped

    def around_coroutine(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            done = await call(*args, **kwargs)
            self.step()
            return done

        return wrapped


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _work(steps: Steps, at: int, what: str, subject: str, content: bytes) -> None:
    async with open_runtime(load_settings(), Metrics()) as rt:
        steps.left = at
        match what:
            case "delete":
                await remove_clip(rt, UUID(subject))
            case "replace":
                async with rt.staging.create(Incoming(limit=10**9)) as writer:
                    await writer.write(content)
                    await replace_audio(rt, UUID(subject), await writer.finish(), Hints(), None)
            case "resume":
                checksum = Checksum("sha256", hashlib.sha256(content).digest())
                await append(rt, UUID(subject), Append(HALF, None, len(content), checksum), _chunks(content))
            case _:
                async with rt.staging.create(Incoming(limit=10**9)) as writer:
                    await writer.write(content)
                    await ingest(rt, await writer.finish(), Hints())


def _child(at: int, what: str, subject: str, content: str) -> None:
    steps = Steps()
    for name in ("fsync", "link", "mkdir", "pwrite", "unlink"):
        setattr(os, name, steps.around(getattr(os, name)))
    for owner, name in ((Transaction, "commit"), (Connection, "fetchrow")):
        setattr(owner, name, steps.around_coroutine(getattr(owner, name)))
    asyncio.run(_work(steps, at, what, subject, bytes.fromhex(content)))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            os.dup2(2, 1)  # the answers alone go where they are read
            try:
                _child(*json.loads(line))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
