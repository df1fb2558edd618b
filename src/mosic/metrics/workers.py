"""A folder in which the worker processes of one service keep their metrics together.

prometheus_client's multiprocess mode does the work: each process maps files into memory, which survive it,
and a scrape of any one adds up those of all. What is done otherwise than there is in docs/decisions/0010.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from mosic import disk

ENVIRONMENT = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder; the one of prometheus_client."""

_PREFIX = "mosic-metrics-"


class WorkersFolder(Collector):
    """This process's place in the folder, held until it ends.

    A place is a number: the process that comes after one that died takes over its place, and its counters.
    So they never go backwards, and there are no more files than there ever were workers at one time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._place, self._held = self._take_place()
        # What the one before was just doing has ended with it.
        mark_process_dead(self._place, str(path))  # type: ignore[no-untyped-call]
        # From here on every collector of this process keeps its values in the folder.
        place = self._place
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: place)  # type: ignore[no-untyped-call]
        self._leading: int | None = None

    def _take_place(self) -> tuple[int, int]:
        number = 0
        while True:
            held = _lock(self._lock_file(number))
            if held is not None:
                return number, held
            number += 1

    def _lock_file(self, number: int) -> Path:
        return self.path / f"worker_{number}.lock"

    def forget_the_dead(self) -> None:
        """Take what those who died were doing just then (active streams and the like) out of the sums."""
        for file in self.path.glob("worker_*.lock"):
            number = int(file.stem.removeprefix("worker_"))
            if number != self._place and (held := _lock(file)) is not None:
                try:
                    mark_process_dead(number, str(self.path))  # type: ignore[no-untyped-call]
                finally:
                    os.close(held)

    def collect(self) -> Iterable[Metric]:
        """The sums over all who ever were in the folder."""
        # A file has no size for a moment when it is new, which prometheus_client takes for a broken one.
        files = [str(file) for file in self.path.glob("*.db") if _size(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged

    def leads(self) -> bool:
        """Whether this is the one process that looks at what they all share."""
        if self._leading is None:
            self._leading = _lock(self.path / "leader.lock")
        return self._leading is not None

    def publish(self, name: str, text: str) -> None:
        """Let every worker have the text; only for the one that leads."""
        made = self.path / f"{name}.{self._place}.new"
        made.write_text(text, "utf-8")
        made.replace(self.path / f"{name}.json")

    def published(self, name: str) -> str | None:
        with suppress(FileNotFoundError):
            return (self.path / f"{name}.json").read_text("utf-8")
        return None


@contextmanager
def folder_for_workers(otherwise: Path) -> Iterator[None]:
    """For the parent of worker processes, before it starts them: an empty folder, named in the environment
    that they inherit, removed at the end. Where the environment names one already, that one is emptied.

    It is made among temporary files, or in `otherwise` where the system has no place for such.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        path = Path(given)
        path.mkdir(parents=True, exist_ok=True)
        for pattern in ("*.db", "worker_*.lock", "leader.lock", "*.json"):
            for file in path.glob(pattern):
                file.unlink(missing_ok=True)
        yield
        return
    place = _temporary() or otherwise
    place.mkdir(parents=True, exist_ok=True)
    _remove_left(place)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    held = _lock(path)
    os.environ[ENVIRONMENT] = str(path)
    try:
        yield
    finally:
        del os.environ[ENVIRONMENT]
        shutil.rmtree(path, ignore_errors=True)
        if held is not None:
            os.close(held)


def _temporary() -> Path | None:
    """None in a container whose root is read-only. Python takes the working folder then, or raises."""
    with suppress(FileNotFoundError):
        place = Path(tempfile.gettempdir())
        if place != Path.cwd():
            return place
    return None


def _remove_left(place: Path) -> None:
    """Remove the folders of services that were killed, and so could not."""
    for path in place.glob(f"{_PREFIX}*"):
        held: list[int | None] = []
        with suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            held = [_lock(path), *(_lock(file) for file in path.glob("worker_*.lock"))]
            if None not in held:
                shutil.rmtree(path, ignore_errors=True)
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)


def _size(file: Path) -> int:
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _lock(path: Path) -> int | None:
    """A descriptor that holds the file or folder locked until it is closed; None when somebody else does."""
    flags = os.O_RDONLY | (os.O_DIRECTORY if path.is_dir() else os.O_CREAT)
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        disk.lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
