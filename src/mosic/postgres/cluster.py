"""One embedded PostgreSQL cluster: its files, and starting and stopping the server on them.

Everything here blocks. Only one process at a time may start or stop it (`sharing` holds a
lock for that). The folder `home` has:

- `cluster/`: made by initdb; it gets this name only when it is complete
- `socket/`: where it listens
- `postgres.log`: the log of the server, in at most two files of limited size
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import structlog

from mosic import disk
from mosic.errors import StartupError
from mosic.postgres.account import Account, Programs, environment, run
from mosic.postgres.listening import PORT, ServerSocket

USER = "postgres"
_LARGEST_LOG = 1024 * 1024
_STOP_SECONDS = 60
# In MiB. A new database takes about 40.
_LITTLE_ROOM = 64
# In bytes. On a smaller disk the server's log must fit into the space that uploads leave free.
_SMALL_DISK = 4 * 1024**3

# For a small application database on a shared machine. Written once into the cluster's postgresql.conf,
# where the operator may change them.
_DEFAULTS = """
# Set by Mosic
max_connections = 200
shared_buffers = 64MB
huge_pages = off
jit = off
max_parallel_workers_per_gather = 0
max_wal_size = {most_log}MB
min_wal_size = {least_log}MB
wal_level = minimal
max_wal_senders = 0
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
# Failed statements are reported to the client; in this log they would only fill the disk.
log_min_messages = log
log_checkpoints = off
"""

_log = structlog.get_logger("mosic.postgres")


class Cluster:
    def __init__(self, home: Path, account: Account) -> None:
        self.home = home
        self.account = account
        self.folder = home / "cluster"
        self.log = home / "postgres.log"
        self.socket = ServerSocket(home, account)
        self._said_before = 0

    def open_private(self, name: str, flags: int = os.O_RDWR) -> int:
        """Open a file in `home`, made when missing, accessible to the account only. Returns the
        descriptor."""
        # The account owns the folder; as root we must not follow a link that it put there.
        fd = os.open(self.home / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self.account.own(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def start(self, programs: Programs) -> subprocess.Popen[bytes]:
        """Start the server, after initdb when the cluster is new; return at once, before it is ready."""
        self._remove_leftovers()
        if not self.folder.exists():
            self._create(programs)
        self._check_version(programs)
        self._free_pid_file()
        folder = self.socket.prepare()
        quoted = str(folder).replace('"', '""')
        # The operator must not change these, so they override the cluster's postgresql.conf.
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{quoted}"',
            "unix_socket_permissions": "0700",
            "log_destination": "stderr",
            "logging_collector": "off",
        }
        command = [str(programs.folder / "postgres"), "-D", str(self.folder)]
        for name, value in fixed.items():
            command += ["-c", f"{name}={value}"]
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        output = self.open_private(self.log.name, os.O_WRONLY | os.O_APPEND)
        try:
            self._said_before = os.fstat(output).st_size
            # Its own session: a Ctrl-C in the terminal is for the service, which stops the server last.
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment(),
                start_new_session=True,
                **self.account.run_as,
            )
        finally:
            os.close(output)
        # Reaped when it ends, so that it never stays as a zombie.
        threading.Thread(target=process.wait, name="mosic-postgres", daemon=True).start()
        _log.info("PostgreSQL starts", pid=process.pid, folder=str(self.folder), log_file=str(self.log))
        return process

    def last_log_lines(self) -> str:
        """The last lines that the server wrote into the log since the last `start`."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._said_before)
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError as error:
            lines = [str(error)]
        return "\n".join(lines[-6:])

    def shortage(self) -> str:
        """For a message: that the disk is full, which the log may have no space to say."""
        try:
            free = disk.free_bytes(self.home) // 1024**2
        except OSError:
            return ""
        return f"; its disk has only {free} MiB left" if free < _LITTLE_ROOM else ""

    def serving_pid(self) -> int | None:
        """The pid in the pid file, if that process serves this cluster; pids are reused."""
        try:
            pid = abs(int(self._pid_file.read_text("utf-8", "replace").split("\n")[0]))
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._serves(pid) else None

    def stop(self) -> None:
        """Stop the server, ending its connections ("fast" mode), and wait until it is gone.

        Does nothing when none listens. A server that takes too long is left to end by itself.
        """
        try:
            pid = self.socket.listener() or self.serving_pid()
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        else:
            if pid is None or not self._end(pid):
                _log.warning("PostgreSQL has not stopped", pid=pid, log_file=str(self.log))
                return
        self.socket.remove_link()
        self._remove_leftovers()

    @property
    def _pid_file(self) -> Path:
        return self.folder / "postmaster.pid"

    def _end(self, pid: int) -> bool:
        """Ask the server to end; True when it has."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while self._serves(pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _serves(self, pid: int) -> bool:
        if Path("/proc/self/cwd").exists():
            # A server changes into its data folder first; a zombie has no folder.
            try:
                return os.path.samefile(f"/proc/{pid}/cwd", self.folder)
            except OSError:
                return False
        listed = run(["ps", "-o", "comm=", "-p", str(pid)], self.account)
        return listed.stdout.strip().endswith("postgres")

    def _remove_leftovers(self) -> None:
        """Remove what killed first starts left, but not what a running initdb still uses."""
        for unfinished in self.home.glob("initdb-*"):
            with contextlib.suppress(OSError), disk.locked(unfinished):
                shutil.rmtree(unfinished)

    def _create(self, programs: Programs) -> None:
        """Run initdb in a temporary folder and rename it: a killed initdb leaves half a cluster.

        The folder has a new name each time, because such an initdb may continue for a while.
        """
        self.account.check_named()
        fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.home))
        self.account.own(fresh)
        command = [str(programs.folder / "initdb"), "-D", str(fresh), "-U", USER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
        if programs.major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            command += ["--lc-ctype=C.UTF-8"]
        with disk.locked(fresh) as lock:
            made = run(command, self.account, pass_fds=[lock])
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            said = "\n  ".join(made.stdout.strip().splitlines()[-6:])
            raise StartupError(
                f"MOSIC_DATA_DIR: the database could not be made in {self.home}{self.shortage()}. "
                f"It says:\n  {said}"
            )
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
            small = disk.size_bytes(fresh) < _SMALL_DISK
            file.write(_DEFAULTS.format(most_log=64 if small else 256, least_log=32 if small else 64))
            file.flush()
            disk.fsync(file.fileno())
        disk.publish(fresh, self.folder, replace=True)

    def _check_version(self, programs: Programs) -> None:
        found = (self.folder / "PG_VERSION").read_text("utf-8").strip()
        if found != str(programs.major):
            raise StartupError(
                f"MOSIC_POSTGRES_BIN: the database in {self.folder} was made by PostgreSQL {found}, the "
                f"programs in {programs.folder} are PostgreSQL {programs.major}. Name a folder of programs "
                f"of PostgreSQL {found}, or move the database to another place to begin with an empty one."
            )

    def _free_pid_file(self) -> None:
        """Let the server start although a stale pid file names a running process (a reused pid, a zombie).

        PostgreSQL treats a file that names its own parent as stale. The rest stays: from the shared
        memory named there it detects whether children of a killed server still run.
        """
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(self._pid_file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(fd, "r+b") as file:
                rest = file.read().partition(b"\n")[2]
                file.seek(0)
                file.write(b"%d\n%b" % (os.getpid(), rest))
                file.truncate()
