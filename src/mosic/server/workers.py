"""Several worker processes behind the same sockets: start them, replace those that die, stop them in order.

docs/decisions/0012-workers.md says why this is not uvicorn's own supervisor.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import structlog

from mosic.server.orderly import STARTUP_FAILURE

_log = structlog.get_logger("mosic.workers")

READY = b"ready"
BEAT = b"."
BEAT_SECONDS = 5
"""How often a worker gives a sign of life: its event loop turns."""

# So much longer than a beat that no busy machine is taken for a worker that hangs.
_SILENT_SECONDS = 90.0
# Beyond the time that open requests have: cutting off, writing plays, stopping the database.
_CLOSING_SECONDS = 30.0
_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)

Work = Callable[[list[socket.socket], Connection], None]


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    pipe_open: bool = True
    last_word: float = field(default_factory=time.monotonic)


class Workers:
    """Runs `work` in `count` processes. Each gets the sockets and one end of a pipe, on which it sends
    `READY` when it serves and `BEAT` now and then. The pipe breaks when this process dies, and a worker then
    has to end."""

    def __init__(
        self,
        work: Work,
        count: int,
        listening: list[socket.socket],
        *,
        shutdown_seconds: float,
        on_ready: Callable[[], None],
        pass_on_hangup: bool,
    ) -> None:
        """With `pass_on_hangup` SIGHUP goes to the workers that serve; else it ends them, unless it was
        ignored before (`nohup`)."""
        self._work = work
        self._count = count
        self._listening = listening
        self._shutdown_seconds = shutdown_seconds
        self._on_ready = on_ready
        self._pass_on_hangup = pass_on_hangup
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._stops = 0
        self._kill_at = float("inf")
        self._served = False
        self._was_ready = False
        # How many workers in a row ended before they served, and when the next one may be started.
        self._failures = 0
        self._next_start = 0.0
        self._status = 0

    def run(self) -> int:
        """Returns when every worker has ended after SIGTERM, SIGINT or (see above) SIGHUP: 0. When none ever
        came to serve: 3.

        A second signal cuts off what is open, a third kills. A worker that dies later is replaced, at once
        the first time and after growing pauses while its successors fail, and never is a reason to stop the
        others.
        """
        with self._signals_wake() as woken:
            while self._workers or not self._stops:
                self._start_missing()
                self._wait(woken)
                while self._signals:
                    if self._signals.pop() == signal.SIGHUP and self._pass_on_hangup:
                        self._send_hangup()
                    else:
                        self._stop()
                self._remove_ended()
                self._kill_silent()
        return self._status

    def _start_missing(self) -> None:
        while not self._stops and len(self._workers) < self._count and time.monotonic() >= self._next_start:
            mine, theirs = self._context.Pipe()
            process = self._context.Process(target=self._work, args=(self._listening, theirs))
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, mine))
            _log.info("worker started", worker=process.pid)

    def _wait(self, woken: int) -> None:
        pipes = {worker.pipe: worker for worker in self._workers if worker.pipe_open}
        sentinels = [worker.process.sentinel for worker in self._workers]
        for event in wait([woken, *pipes, *sentinels], timeout=1.0):
            if event == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 512)
            elif isinstance(event, Connection):
                self._read(pipes[event])

    def _read(self, worker: _Worker) -> None:
        try:
            word = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            worker.pipe_open = False
            return
        worker.last_word = time.monotonic()
        if word == READY:
            worker.ready = self._served = True
            _log.info("worker serves", worker=worker.process.pid)
            self._failures = 0
            if not self._was_ready and sum(one.ready for one in self._workers) == self._count:
                self._was_ready = True
                self._on_ready()

    def _send_hangup(self) -> None:
        for worker in self._workers:
            # One that is starting ignores the signal, and is going to read the key file anyway.
            if worker.ready and worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGHUP)

    def _stop(self) -> None:
        self._stops += 1
        now = time.monotonic()
        if self._stops == 1:
            # Connections are refused from here on, instead of waiting for somebody to take them.
            for listening in self._listening:
                listening.close()
            self._kill_at = now + self._shutdown_seconds + _CLOSING_SECONDS
        elif self._stops == 2:
            self._kill_at = now + _CLOSING_SECONDS
        else:
            self._kill_at = now
        for worker in self._workers:
            worker.process.terminate()

    def _remove_ended(self) -> None:
        for worker in [one for one in self._workers if one.process.exitcode is not None]:
            worker.process.join()
            worker.pipe.close()
            self._workers.remove(worker)
            if self._stops:
                continue
            _log.error("worker ended", worker=worker.process.pid, status=worker.process.exitcode)
            if not self._served:
                self._status = STARTUP_FAILURE
                self._stop()
            elif not worker.ready:
                self._failures = min(self._failures + 1, len(_PAUSES) - 1)
                self._next_start = time.monotonic() + _PAUSES[self._failures]

    def _kill_silent(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if now > self._kill_at or (worker.ready and now - worker.last_word > _SILENT_SECONDS):
                _log.error(
                    "worker does not end" if self._stops else "worker hangs", worker=worker.process.pid
                )
                worker.process.kill()

    @contextmanager
    def _signals_wake(self) -> Iterator[int]:
        """Gives a descriptor that can be read from when there is a signal."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        numbers = [signal.SIGTERM, signal.SIGINT]
        if self._pass_on_hangup or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        handlers = {
            number: signal.signal(number, lambda given, _: self._signals.append(given)) for number in numbers
        }
        waking = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(waking)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(woken)
            os.close(wake)
