"""Where the keys come from, and how changes of the key file are noticed."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog

from mosic.background import Background, end
from mosic.errors import StartupError
from mosic.keys.made import read_or_make
from mosic.keys.ring import KeyRing
from mosic.metrics.keys import KeyMetrics
from mosic.settings import Settings
from mosic.settings.files import warning_about_readers
from mosic.settings.keys import DEFAULT_NAME
from mosic.wire.apikeys import MOST_SIZE, NamedKey, parse_key_file

_log = structlog.get_logger("mosic.keys")

_Seen = tuple[int, ...] | str
"""Identifies one state of the file; a text when its state cannot be read."""


def load_keys(settings: Settings) -> tuple[NamedKey, ...]:
    """Every valid key, in the order of precedence: those of the environment and of the file, or the one that
    Mosic made. Raises `StartupError`.
    """
    if settings.makes_key:
        return (NamedKey(DEFAULT_NAME, read_or_make(settings.made_key_file)),)
    return (*settings.given_keys, *_read(settings.api_keys_file))


@asynccontextmanager
async def open_keys(
    settings: Settings, metrics: KeyMetrics, *, watch: Background | None = None
) -> AsyncIterator[KeyRing]:
    """The keys. With `watch`, a background loop reads the key file again: at SIGHUP and soon after a
    change.

    Raises `StartupError` when they cannot be read at the start. Later, a missing or wrong file
    only appears in the log and the metrics.
    """
    seen = await asyncio.to_thread(_look, settings.api_keys_file)
    ring = KeyRing(await asyncio.to_thread(load_keys, settings))
    _warn_of_weak(ring)
    await asyncio.to_thread(_warn_of_readers, settings)
    if watch is None or settings.api_keys_file is None:
        yield ring
        return
    follower = _Follower(ring, settings, metrics, seen)
    following = watch.start("keys", follower.follow)
    try:
        with _at_hangup(follower.hurry):
            yield ring
    finally:
        await end(following)


@contextmanager
def _at_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call this on the event loop at SIGHUP."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"):
        yield  # signals cannot be handled here; checking the file is enough
        return
    before = signal.getsignal(signal.SIGHUP)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)


class _Follower:
    """Reads the file again when it has changed and is complete."""

    def __init__(self, ring: KeyRing, settings: Settings, metrics: KeyMetrics, seen: _Seen) -> None:
        self._ring = ring
        self._settings = settings
        self._metrics = metrics
        self._read_at = self._looked_at = seen
        self._asked = asyncio.Event()

    def hurry(self) -> None:
        """Read it now, changed or not."""
        self._asked.set()

    async def follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._settings.timings.key_file_check)
            asked = self._asked.is_set()
            self._asked.clear()
            before, self._looked_at = self._looked_at, await asyncio.to_thread(_look, self._file)
            # A file that changes between two checks is still being written.
            if asked or (self._looked_at != self._read_at and self._looked_at == before):
                self._read_at = self._looked_at
                await self._read_again("SIGHUP" if asked else "change of the file")

    @property
    def _file(self) -> Path | None:
        return self._settings.api_keys_file

    async def _read_again(self, cause: str) -> None:
        try:
            keys = await asyncio.to_thread(load_keys, self._settings)
        except StartupError as error:
            self._metrics.file_read("refused")
            _log.error(
                "the key file was not accepted; the keys from before stay valid", cause=cause, why=str(error)
            )
            return
        before = self._ring.names
        self._ring.replace(keys)
        self._metrics.file_read("taken")
        _log.info(
            "the API keys were read again",
            cause=cause,
            names=list(self._ring.names),
            added=sorted(set(self._ring.names) - set(before)),
            removed=sorted(set(before) - set(self._ring.names)),
        )
        _warn_of_weak(self._ring)
        await asyncio.to_thread(_warn_of_readers, self._settings)


def _look(file: Path | None) -> _Seen:
    if file is None:
        return "none"
    try:
        found = os.stat(file)
    except OSError as error:
        return str(error.strerror)
    # A file that was replaced by a rename (editors, secrets of Kubernetes) has another inode.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _read(file: Path | None) -> tuple[NamedKey, ...]:
    if file is None:
        return ()
    try:
        # Reading a pipe, for example, would wait.
        if not file.is_file():
            raise StartupError(f"MOSIC_API_KEYS_FILE: {file} is not a file")
        with file.open("rb") as opened:
            return parse_key_file(opened.read(MOST_SIZE + 1))
    except OSError as error:
        raise StartupError(f"MOSIC_API_KEYS_FILE: {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StartupError(f"MOSIC_API_KEYS_FILE: {file}: {error}") from error


def _warn_of_readers(settings: Settings) -> None:
    """Warn of files with keys and secrets that every account of this machine can read."""
    files = {"MOSIC_API_KEYS_FILE": settings.api_keys_file} if settings.api_keys_file else {}
    made = (settings.made_key_file, settings.made_secret_file)
    found = [*files.items(), *(("MOSIC_DATA_DIR", file) for file in made)]
    for setting, file in found:
        if warning := warning_about_readers(file, setting):
            _log.warning(warning)


def _warn_of_weak(ring: KeyRing) -> None:
    if ring.weak_names:
        _log.warning(
            "these API keys are short enough to be guessed; `mosic key new` makes better ones",
            names=list(ring.weak_names),
        )
