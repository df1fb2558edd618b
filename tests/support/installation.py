"""A folder that somebody runs `mosic` in, as a process, with what its `.env` says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.support.house import MOSIC, kill
from tests.support.waiting import wait_until


class Installation:
    """A folder that somebody runs mosic in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        (folder / ".env").write_text(f"MOSIC_MEDIA_ROOT={folder}/media\nMOSIC_DATA_DIR={folder}/data\n")

    def environment(self, **settings: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MOSIC_")}
        return (
            clean | {"MOSIC_APP_PORT": "0", "MOSIC_PROBE_WORKERS": "1", "MOSIC_WORKS_AT_ONCE": "0"} | settings
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MOSIC, *arguments],
            cwd=self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def serve(self, *arguments: str, **settings: str) -> Served:
        log = self.folder / f"stderr-{len(self.running)}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*MOSIC, "serve", *arguments],
                cwd=self.folder,
                env=self.environment(**settings),
                stderr=errors,
                start_new_session=True,
            )
        self.running.append(process)
        return Served(process, log)

    def end(self) -> None:
        for process in self.running:
            kill(process)
        with contextlib.suppress(ValueError, ProcessLookupError, FileNotFoundError):
            os.kill(self.postgres_pid(), signal.SIGQUIT)

    def postgres_pid(self) -> int:
        """Of the server that holds this folder's cluster; raises when none does."""
        (file,) = self.folder.glob("data/**/postmaster.pid")
        pid = int(file.read_text().split()[0])
        os.kill(pid, 0)
        return pid


class Served:
    """A `mosic serve` that has been started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.started = time.perf_counter()

    def log(self) -> str:
        return self._log.read_text()

    def url(self) -> str:
        """Where it listens, once it does."""

        def listens() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log()
            return re.search(r"listens on (\S+)", self.log())

        wait_until(listens, self.log)
        found = listens()
        assert found
        return found[1]

    def upload_line(self) -> str:
        """As it is in the log, to be pasted."""
        (found,) = [line["upload"] for line in map(json.loads, self.log().splitlines()) if "upload" in line]
        return str(found)

    def key(self) -> str:
        """As it is found by whoever may read the data folder; the log names the file."""
        found = re.search(r'X-API-Key: \$\(cat (\S+)\)"', self.upload_line())
        assert found
        return Path(found[1]).read_text().strip()

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)
