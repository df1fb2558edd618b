"""A cache of open files: a bounded number, each shared by all who read it at the same time."""

from __future__ import annotations

import asyncio
import os
import resource
from collections import OrderedDict
from collections.abc import Callable

# Of the descriptors that the process may have: the others are for clients, the database and uploads.
_SHARE = 4
_MOST = 4096
# How often some of the cached files are looked at, and how many: all of them within 16 seconds.
_CHECK_SECONDS = 1.0
_CHECKED_AT_ONCE = 256


class SharedFile:
    """An open file. Its last reader closes it, unless it is in a cache."""

    __slots__ = ("_changed_at", "_close", "_in_cache", "_readers", "descriptor", "size")

    def __init__(self, path: str, close: Callable[[int], object]) -> None:
        """Opens the file for one reader, which blocks. `close` is given the descriptor and must not block."""
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise
        self.size = status.st_size
        self._changed_at = status.st_ctime_ns
        self._close = close
        self._readers = 1
        self._in_cache = False

    def is_unchanged(self) -> bool:
        """Whether for sure nobody has taken its name away since it was opened.

        The number of its links alone does not tell: a backup may have made one, and then one is left. But
        every link that comes or goes changes the time of the last change.
        """
        try:
            status = os.fstat(self.descriptor)
        except OSError:  # ESTALE: removed by another machine that has the file system (NFS)
            return False
        return status.st_nlink > 0 and status.st_ctime_ns == self._changed_at

    def add_reader(self) -> None:
        """One reader more; each must call `remove_reader`."""
        self._readers += 1

    def remove_reader(self) -> None:
        self._readers -= 1
        self._close_unused()

    def enter_cache(self) -> None:
        self._in_cache = True

    def leave_cache(self) -> None:
        """From now on only its readers hold it open."""
        self._in_cache = False
        self._close_unused()

    def _close_unused(self) -> None:
        if not self._readers and not self._in_cache:
            self._close(self.descriptor)


class DescriptorCache:
    """The files that were read last. For the thread of one event loop.

    A file that was removed, by any process, is given to nobody, and is closed within seconds, as it fills the
    disk until then.
    """

    def __init__(self, most: int | None = None) -> None:
        """`most` files stay open; by default a share of what the process may have open."""
        self._most = _share_of_descriptors() if most is None else most
        self._files: OrderedDict[str, SharedFile] = OrderedDict()
        self._check: asyncio.TimerHandle | None = None
        self._unchecked: list[str] = []

    def get(self, name: str) -> SharedFile | None:
        """The file for one reader more, if it is here and still the one of that name."""
        file = self.find(name)
        if file is not None:
            file.add_reader()
        return file

    def find(self, name: str) -> SharedFile | None:
        """As `get`, for one who is done with it before anything else happens in this thread."""
        file = self._files.get(name)
        if file is None:
            return None
        if not file.is_unchanged():
            self.discard(name)
            return None
        self._files.move_to_end(name)
        return file

    def add(self, name: str, file: SharedFile) -> SharedFile:
        """Take in a file that its first reader has just opened, and give it back; or, when another was
        quicker, that one's in its stead."""
        cached = self._files.get(name)
        if cached is not None:
            cached.add_reader()
            file.remove_reader()
            return cached
        if not file.is_unchanged():
            return file  # removed meanwhile
        file.enter_cache()
        self._files[name] = file
        while len(self._files) > self._most:
            self._files.popitem(last=False)[1].leave_cache()
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._close_removed)
        return file

    def discard(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is not None:
            file.leave_cache()

    def clear(self) -> None:
        while self._files:
            self._files.popitem()[1].leave_cache()
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _close_removed(self) -> None:
        """Look at some of the files, the next ones in turn, as long as there are any."""
        if not self._unchecked:
            self._unchecked = list(self._files)
        for _ in range(min(_CHECKED_AT_ONCE, len(self._unchecked))):
            name = self._unchecked.pop()
            file = self._files.get(name)
            if file is not None and not file.is_unchanged():
                self.discard(name)
        self._check = None
        if self._files:
            self._check = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._close_removed)


def _share_of_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, soft // _SHARE)
