"""Services without their HTTP, which learn the made-up kind until they are killed: `python -m` this.

One process imports everything, once. For each line that it reads it forks a service, which writes its process
id once it does works. The environment has the settings.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

import structlog

from mosic.boot import open_runtime
from mosic.db.clips import Clip
from mosic.metrics import Metrics
from mosic.settings import load_settings
from tests.support.learning import KILLED, Words


async def _a_moment(_: Clip) -> None:
    await asyncio.sleep(random.uniform(0, 0.05))


async def _serve() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = load_settings(timings=KILLED)
    async with open_runtime(settings, Metrics(), sweeps=True, learns=[Words(_a_moment)]):
        print(os.getpid(), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    # Nobody waits for the killed ones.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asyncio.run(_serve())
            os._exit(1)


if __name__ == "__main__":
    main()
