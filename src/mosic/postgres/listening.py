"""The socket of the embedded PostgreSQL, in a folder of mode 0700. There is no other way to connect.

It is in the database's own folder. If no socket can be made there (the path is too long, the file
system has none), the name `socket` is a link to a folder below `/tmp`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

from mosic.errors import StartupError
from mosic.postgres.account import Account

PORT = 5432
_FILE = f".s.PGSQL.{PORT}"


class ServerSocket:
    def __init__(self, home: Path, account: Account) -> None:
        self._place = home / "socket"
        self._account = account

    def find(self) -> Path:
        """The folder of a socket that a server made; `FileNotFoundError` when there is none."""
        folder = self._folder
        if not (folder / _FILE).exists() or (folder != self._place and not self._is_private(folder)):
            raise FileNotFoundError(f"no socket in {folder}")
        return folder

    def prepare(self) -> Path:
        """The folder for a server that is about to start, made when missing and without an old socket."""
        self._remove_stale()
        if not self._place.is_symlink():
            self._place.mkdir(mode=0o700, exist_ok=True)
            self._account.own(self._place)
            if _can_listen(self._place):
                return self._place
            self._place.rmdir()
        else:
            if self._is_private(self._folder) and _can_listen(self._folder):
                return self._folder
            self._place.unlink()
        # A new name that nobody can have prepared, in a folder whose path is short on every system.
        try:
            folder = Path(tempfile.mkdtemp(prefix="mosic-", dir="/tmp"))
        except OSError as error:
            raise StartupError(
                f"MOSIC_DATA_DIR: no socket can be made in {self._place} (the path is too long, or the file "
                f"system has none), nor in /tmp ({error.strerror}): name another folder."
            ) from None
        self._account.own(folder)
        self._place.symlink_to(folder)
        return folder

    def listener(self) -> int | None:
        """The pid of the server from the kernel; None if the kernel does not provide it.

        Raises `FileNotFoundError` or `ConnectionRefusedError` when no server listens.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(os.fspath(self.find() / _FILE))
            if not hasattr(socket, "SO_PEERCRED"):
                return None
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        # 0: it runs in another container.
        return pid or None

    def remove_link(self) -> None:
        """After the server stopped: leave nothing behind in `/tmp`."""
        if self._place.is_symlink():
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                self._place.unlink()

    @property
    def _folder(self) -> Path:
        try:
            return Path(os.readlink(self._place))
        except OSError:
            return self._place

    def _is_private(self, folder: Path) -> bool:
        try:
            found = folder.lstat()
        except OSError:
            return False
        mode = stat.S_IMODE(found.st_mode)
        return stat.S_ISDIR(found.st_mode) and mode == 0o700 and found.st_uid == self._account.uid

    def _remove_stale(self) -> None:
        """A killed server leaves both, and a reused pid in the lock would keep the next from starting."""
        for name in (_FILE, f"{_FILE}.lock"):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / name).unlink()


def _can_listen(folder: Path) -> bool:
    """Ask the kernel: socket paths end at about 100 bytes, and some mounted file systems have no sockets."""
    # asyncpg would read such a path as several hosts, or as the socket itself.
    if "," in str(folder) or ".s.PGSQL." in str(folder):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(os.fspath(folder / _FILE))
        except OSError:
            return False
    (folder / _FILE).unlink()
    return True
