"""Which unfinished upload has the bytes of which file, so that a second `mosic upload` can continue it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

_FILE = "uploads.json"
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Longer than services keep unfinished uploads.
_KEPT_SECONDS = 30 * 86400
_POLL_SECONDS = 0.2


def state_folder() -> Path | None:
    """`$XDG_STATE_HOME/mosic`, by default `~/.local/state/mosic`; None for an account without a home."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path must be ignored.
    if os.path.isabs(given):
        return Path(given, "mosic")
    try:
        return Path.home() / ".local/state/mosic"
    except RuntimeError:
        return None


class Remembered:
    """Upload ids by service and content. Processes may share the folder, and may be killed at any moment.

    Where the folder cannot be used it remembers until the process ends, which `lasting` says.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._here: dict[str, str] = {}
        self._held: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = threading.Lock()
        self._lock = -1
        if folder is not None:
            with suppress(OSError):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Kept open: closing any descriptor of the file releases all its locks.
                self._lock = os.open(folder / "uploads.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def is_saved(self) -> bool:
        return self._lock >= 0

    async def get(self, server: str, sha256: str) -> str | None:
        key = f"{server} {sha256}"
        if key in self._here:
            return self._here[key]
        found = (await asyncio.to_thread(self._read)).get(key)
        return found["id"] if found else None

    async def put(self, server: str, sha256: str, upload_id: str) -> None:
        key = f"{server} {sha256}"
        self._here[key] = upload_id
        await asyncio.to_thread(self._change, key, {"id": upload_id, "at": int(time.time())})

    async def forget(self, server: str, sha256: str) -> None:
        key = f"{server} {sha256}"
        self._here.pop(key, None)
        await asyncio.to_thread(self._change, key, None)

    @asynccontextmanager
    async def exclusively(self, server: str, sha256: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        """No other such block for the same bytes and service runs on this machine at the same time.

        `on_wait` is called when another is there, to be waited for.
        """
        # One byte of the lock file for each content; byte 0 is for the file of uploads itself.
        byte = 1 + int(sha256[:15], 16)
        held = self._held.setdefault(f"{server} {sha256}", asyncio.Lock())
        if held.locked():
            on_wait()
        async with held:
            if not self._seize(byte):
                on_wait()
                while not self._seize(byte):  # noqa: ASYNC110 – another process has it
                    await asyncio.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                if self._lock >= 0:
                    fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, byte)

    def _seize(self, byte: int) -> bool:
        if self._lock >= 0:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError as error:
                # On a file system without locks, two calls at once send the file twice, and nothing worse.
                return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True

    @contextmanager
    def _changing(self) -> Iterator[None]:
        # The lock of the file excludes other processes, not the threads of this one.
        with self._threads:
            with suppress(OSError):
                fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, 0)
            try:
                yield
            finally:
                with suppress(OSError):
                    fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, 0)

    def _change(self, key: str, entry: dict[str, Any] | None) -> None:
        if self._folder is None or self._lock < 0:
            return
        with self._changing():
            uploads = self._read()
            before = dict(uploads)
            if entry is None:
                uploads.pop(key, None)
            else:
                uploads[key] = entry
            if uploads == before:
                return
            # What cannot be written is not remembered, and a later call begins anew. No fsync: after a power
            # cut the file is either complete or ignored.
            with suppress(OSError):
                written = self._folder / f".{_FILE}.new"
                written.write_text(json.dumps({"uploads": uploads}, indent=1))
                written.replace(self._folder / _FILE)

    def _read(self) -> dict[str, dict[str, Any]]:
        """The entries that are not too old; none when the file cannot be read."""
        if self._folder is None:
            return {}
        try:
            uploads = json.loads((self._folder / _FILE).read_text())["uploads"]
            oldest = time.time() - _KEPT_SECONDS
            return {
                key: entry
                for key, entry in uploads.items()
                # It becomes part of a URL that the key is sent to.
                if _UPLOAD_ID.fullmatch(entry["id"]) and entry["at"] > oldest
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
