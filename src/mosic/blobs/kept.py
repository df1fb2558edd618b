"""Files kept open for their next readers: a bounded number, shared by all who read them at the same time."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Callable

# Of the descriptors that the process may have: the others are for clients, the database and uploads.
_SHARE = 4
_MOST = 4096


class SharedFile:
    """An open file; its last reader closes it, unless it is kept for the next one."""

    __slots__ = ("_changed_at", "_close", "_kept", "_readers", "descriptor", "size")

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
        self._kept = False

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

    def take(self) -> None:
        """One reader more; each must `release`."""
        self._readers += 1

    def release(self) -> None:
        self._readers -= 1
        self._close_unused()

    def keep(self) -> None:
        self._kept = True

    def retire(self) -> None:
        """From now on only its readers keep it open."""
        self._kept = False
        self._close_unused()

    def _close_unused(self) -> None:
        if not self._readers and not self._kept:
            self._close(self.descriptor)


class KeptFiles:
    """The files that were read last. For one thread."""

    def __init__(self, most: int | None = None) -> None:
        self._most = _share_of_descriptors() if most is None else most
        self._files: OrderedDict[str, SharedFile] = OrderedDict()

    def lend(self, name: str) -> SharedFile | None:
        """The file for one reader more, if it is kept and still the one of that name: once it was removed, by
        any process, nobody gets it here."""
        file = self._files.get(name)
        if file is None:
            return None
        if not file.is_unchanged():
            self.forget(name)
            return None
        self._files.move_to_end(name)
        file.take()
        return file

    def add(self, name: str, file: SharedFile) -> SharedFile:
        """Keep a file that its first reader has just opened, and give it back; or, when another was quicker,
        that one's in its stead."""
        kept = self._files.get(name)
        if kept is not None:
            kept.take()
            file.release()
            return kept
        if not file.is_unchanged():
            return file  # removed meanwhile: kept, it would fill the disk until enough others were read
        file.keep()
        self._files[name] = file
        while len(self._files) > self._most:
            self._files.popitem(last=False)[1].retire()
        return file

    def forget(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is not None:
            file.retire()

    def forget_all(self) -> None:
        while self._files:
            self._files.popitem()[1].retire()


def _share_of_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, soft // _SHARE)
