"""Writes log lines to a descriptor without ever waiting for its reader.

If the reader stalls (a stopped terminal, a collector that hangs, a pager), the pipe fills up. The
next line would then wait, and with it the event loop, all requests and the handling of signals.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

# Buffered for a slow reader; lines that do not fit are dropped and counted.
_MOST_BYTES = 1024 * 1024
_POLL_MILLISECONDS = 500
# How long the process waits for its last lines to be written.
_END_SECONDS = 1.0
# A writable pipe accepts at least this many bytes (PIPE_BUF).
_ATOM = select.PIPE_BUF

Write = Callable[[bytes], int]


class LogStream:
    """A text stream for `logging`. May be written to by several threads."""

    def __init__(
        self, descriptor: int, notice: Callable[[int], str], *, most_bytes: int = _MOST_BYTES
    ) -> None:
        """`notice` makes the line that says how many lines were dropped."""
        self._descriptor = descriptor
        self._notice = notice
        self._most_bytes = most_bytes
        self._write, self._wait_on, self._release = _writer(descriptor)
        self._lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._dropped = 0
        self._draining = False
        self.on_dropped: Callable[[int], None] | None = None
        """Called with the number of dropped lines."""

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if not self._kept:
                data = data[self._push(data) :]
            if data:
                self._keep(data)
        return len(text)

    def flush(self) -> None:
        """Does nothing: everything that can be written already is."""

    def close(self) -> None:
        """Close what was opened in addition to the descriptor, which stays open."""
        self._release()

    def finish(self) -> None:
        """Wait a moment for a slow reader, because the process ends."""
        end = time.monotonic() + _END_SECONDS
        while self._kept and time.monotonic() < end:
            time.sleep(0.01)

    def _push(self, data: bytes) -> int:
        """The number of bytes written; bytes that cannot be written at all count as written."""
        pushed = 0
        while pushed < len(data):
            try:
                pushed += self._write(data[pushed:] if pushed else data)
            except BlockingIOError:
                break
            except OSError:
                # The reader is gone, or the disk is full: a log that cannot be written must not break
                # anything.
                self._drop()
                return len(data)
        return pushed

    def _keep(self, data: bytes) -> None:
        if self._kept_bytes + len(data) > self._most_bytes:
            self._drop()
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        if not self._draining:
            self._draining = True
            threading.Thread(target=self._drain, name="mosic-log", daemon=True).start()

    def _drop(self) -> None:
        self._dropped += 1
        if self.on_dropped is not None:
            self.on_dropped(1)

    def _drain(self) -> None:
        """Write the buffered lines as the reader reads; ends when none is left."""
        poll = select.poll()
        poll.register(self._wait_on, select.POLLOUT)
        while True:
            poll.poll(_POLL_MILLISECONDS)
            with self._lock:
                while self._kept:
                    data = self._kept.popleft()
                    self._kept_bytes -= len(data)
                    left = data[self._push(data) :]
                    if left:
                        self._kept.appendleft(left)
                        self._kept_bytes += len(left)
                        break
                else:
                    dropped, self._dropped = self._dropped, 0
                    if not dropped:
                        self._draining = False
                        return
                    notice = self._notice(dropped).encode()
                    self._kept.append(notice)
                    self._kept_bytes += len(notice)


def _writer(descriptor: int) -> tuple[Write, int, Callable[[], None]]:
    """A function that writes without waiting, the descriptor to poll before the next try, and a function that
    closes both."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        # As under systemd. The flag is for one call, because other processes share the socket.
        connection = socket.socket(fileno=os.dup(descriptor))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT), descriptor, connection.close
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # Not O_NONBLOCK for the descriptor itself: other processes share it and would lose lines.
        with suppress(OSError):
            own = os.open(
                f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
            return lambda data: os.write(own, data), own, lambda: os.close(own)
        return lambda data: _write_if_there_is_room(descriptor, data), descriptor, lambda: None
    return lambda data: os.write(descriptor, data), descriptor, lambda: None


def _write_if_there_is_room(descriptor: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[:_ATOM])
