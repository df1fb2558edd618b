"""Folders for embedded servers, and processes that use them: real ones, to be killed at will."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from mosic.postgres import EmbeddedPostgres, open_embedded
from tests.support.processes import is_running, wait_until_gone

# A process that opens the database, says so, and closes it when its input ends or a signal comes.
# A prelude may come before it starts.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from mosic.errors import StartupError
from mosic.postgres import open_embedded

async def ask(share):
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import create_async_engine
    engine = create_async_engine(share.url)
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
    await engine.dispose()

async def main():
    share = await open_embedded(Path(sys.argv[1]))
    try:
        print("open", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        if "ask" in sys.argv:
            await ask(share)
        await share.close()
        print("closed", flush=True)
"""
RUN = """
try:
    asyncio.run(main())
except StartupError as error:
    print("refused", error, flush=True)
"""


class UserProcess:
    """Another process with a share in the database, such as a worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def says(self) -> str:
        """Its next line that is not from its log: `open …`, `refused …`, `closed` or nothing."""
        assert self._process.stdout
        while True:
            line = (await asyncio.wait_for(self._process.stdout.readline(), 60)).decode().strip()
            if not line or line.partition(" ")[0] in {"open", "refused", "closed"}:
                return line

    async def opened(self) -> UserProcess:
        said = await self.says()
        assert said == "open", said + (await self._complaint())
        return self

    async def refusal(self) -> str:
        """Why it could not open the database, the first line of it."""
        said = await self.says()
        assert said.startswith("refused "), said + (await self._complaint())
        return said.removeprefix("refused ")

    async def leave(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        said = await self.says()
        assert said == "closed", said + (await self._complaint())
        assert await self._process.wait() == 0

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        # Lets go of the pipes now, not when the garbage is collected.
        self._process._transport.close()  # type: ignore[attr-defined]

    async def _complaint(self) -> str:
        assert self._process.stderr
        with suppress(ProcessLookupError):
            self._process.kill()
        return "\n" + (await self._process.stderr.read()).decode()


StartUser = Callable[..., Awaitable[UserProcess]]


@pytest.fixture
async def start_user() -> AsyncIterator[StartUser]:
    """Start a process that uses the database of a folder.

    `prelude` is code that it runs first; `asks`: it makes a query through SQLAlchemy before it closes.
    """
    started: list[UserProcess] = []

    async def start(
        data_dir: Path | str,
        *,
        prelude: str = "",
        asks: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        new_group: bool = False,
    ) -> UserProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM + prelude + RUN,
            os.fspath(data_dir),
            *(["ask"] if asks else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            # Not `process_group`, which uvloop does not know.
            preexec_fn=os.setpgrp if new_group else None,
        )
        started.append(UserProcess(process))
        return started[-1]

    yield start
    for user in started:
        await user.kill()


OpenShare = Callable[..., Coroutine[None, None, EmbeddedPostgres]]


@pytest.fixture
async def open_share() -> AsyncIterator[OpenShare]:
    """`open_embedded` for this process; what a failed test leaves open is closed."""
    opened: list[EmbeddedPostgres] = []

    async def open_one(data_dir: Path, postgres_bin: Path | None = None) -> EmbeddedPostgres:
        opened.append(await open_embedded(data_dir, postgres_bin))
        return opened[-1]

    yield open_one
    for share in opened:
        await share.close()


def server_pid(data_dir: Path) -> int | None:
    """The pid of the living server of a folder, or None."""
    cluster = data_dir / "postgres" / "cluster"
    try:
        pid = int((cluster / "postmaster.pid").read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_running(pid) and pid != os.getpid() else None


def end_server(data_dir: Path) -> None:
    """Leave no server behind, whatever the test did to it."""
    pid = server_pid(data_dir)
    if pid is None:
        return
    os.kill(pid, signal.SIGQUIT)
    wait_until_gone(pid)


def make_folder() -> Path:
    # Not tmp_path: as root, PostgreSQL runs as an account that cannot enter pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="mosic-", dir=memory_folder()))
    folder.chmod(0o755)
    return folder


def memory_folder() -> Path | None:
    """Where files live in memory, if there is room: many clusters are made here, and each waits for fsync."""
    folder = Path("/dev/shm")
    with suppress(OSError):
        found = os.statvfs(folder)
        roomy = found.f_bavail * found.f_frsize > 2 * 1024**3
        if roomy and os.access(folder, os.W_OK) and not found.f_flag & os.ST_NOEXEC:
            return folder
    return None


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that everybody can enter."""
    folder = make_folder()
    yield folder
    for cluster in folder.rglob("postgres/cluster"):
        end_server(cluster.parents[1])
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def made_dir() -> AsyncIterator[Path]:
    folder = make_folder()
    share = await open_embedded(folder / "data")
    await share.close()
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data_dir(made_dir: Path) -> Iterator[Path]:
    """A data folder with a database in it that does not run."""
    assert server_pid(made_dir) is None
    yield made_dir
    end_server(made_dir)
