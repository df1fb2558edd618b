"""mosic as real processes in a folder of its own, to be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

KEY = "house-key"
MOSIC = [sys.executable, "-m", "mosic"]


class House:
    """A folder in which mosic is run and killed."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.media = folder / "media"
        self._log = folder / "stderr.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MOSIC_")},
            "MOSIC_API_KEY": KEY,
            "MOSIC_APP_PORT": "0",
            "MOSIC_DATA_DIR": str(folder / "data"),
            "MOSIC_LOG_FORMAT": "json",
            # A test scrapes right after what it did.
            "MOSIC_METRICS_CACHE_SECONDS": "0",
            "MOSIC_MEDIA_ROOT": str(self.media),
            "MOSIC_PROBE_WORKERS": "1",
            "MOSIC_WORKS_AT_ONCE": "0",
            **settings,
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """In a process group of its own, so that its probe workers and it can be killed with one blow."""
        with self._log.open("wb") if arguments[0] == "serve" else open(os.devnull, "wb") as errors:
            process = subprocess.Popen(
                [*MOSIC, *arguments],
                cwd=self.folder,
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MOSIC, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    async def url(self, service: subprocess.Popen[bytes]) -> str:
        """Where it listens, once it does."""
        async with asyncio.timeout(180):
            while not (found := re.search(r"listens on (\S+)", self.log())):
                assert service.poll() is None, self.log()
                await asyncio.sleep(0.01)
        return found[1]

    async def workers(self, service: subprocess.Popen[bytes], count: int) -> list[int]:
        """The pids of those that answer requests, once all of them do."""
        if count == 1:
            await self.url(service)
            return [service.pid]
        async with asyncio.timeout(120):
            while (
                len(serving := set(re.findall(r'"worker": ([0-9]+), "event": "worker serves"', self.log())))
                < count
            ):
                assert service.poll() is None, self.log()
                await asyncio.sleep(0.02)
        return [int(pid) for pid in serving]

    def log(self) -> str:
        return self._log.read_text()

    def logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """The entries of its log about this event that have these fields."""
        found = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry["event"] == event and fields.items() <= entry.items():
                    found.append(entry)
        return found

    def postgres(self) -> int | None:
        """The pid of the database server, if there is one."""
        for file in self.folder.glob("data/**/postmaster.pid"):
            with contextlib.suppress(ValueError, IndexError, OSError):
                pid = int(file.read_text().split()[0])
                os.kill(pid, 0)
                return pid
        return None

    def end(self) -> None:
        for process in self._started:
            kill(process)
        if pid := self.postgres():
            os.kill(pid, signal.SIGQUIT)


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
