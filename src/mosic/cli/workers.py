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
STARTUP_FAILURE = 3

Work = Callable[[list[socket.socket], Connection], None]


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    line: Connection
    ready: bool = False
    open: bool = True
    heard: float = field(default_factory=time.monotonic)


class Workers:
    """Runs `work` in `count` processes. Each gets the sockets, and a line on which it sends `READY` when it
    serves and `BEAT` now and then; the line breaks when this process dies, and a worker then has to end."""

    def __init__(
        self,
        work: Work,
        count: int,
        listening: list[socket.socket],
        *,
        shutdown_seconds: float,
        on_ready: Callable[[], None],
        hand_on_hangup: bool,
    ) -> None:
        """`hand_on_hangup` gives SIGHUP to the workers, who hear it once they serve; else it ends them, but
        where it was ignored before (`nohup`)."""
        self._work = work
        self._count = count
        self._listening = listening
        self._shutdown_seconds = shutdown_seconds
        self._on_ready = on_ready
        self._hand_on_hangup = hand_on_hangup
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._signals: list[int] = []
        self._stops = 0
        self._kill_at = float("inf")
        self._served = False
        self._greeted = False
        # Ends in a row of workers that had never served, and when the next may be started.
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
        with self._hearing_signals() as bell:
            while self._workers or not self._stops:
                self._start_missing()
                self._wait(bell)
                while self._signals:
                    if self._signals.pop() == signal.SIGHUP and self._hand_on_hangup:
                        self._hang_up()
                    else:
                        self._stop()
                self._bury_the_dead()
                self._kill_the_silent()
        return self._status

    def _start_missing(self) -> None:
        while not self._stops and len(self._workers) < self._count and time.monotonic() >= self._next_start:
            mine, theirs = self._context.Pipe()
            process = self._context.Process(target=self._work, args=(self._listening, theirs))
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, mine))
            _log.info("worker started", worker=process.pid)

    def _wait(self, bell: int) -> None:
        lines = {worker.line: worker for worker in self._workers if worker.open}
        sentinels = [worker.process.sentinel for worker in self._workers]
        for event in wait([bell, *lines, *sentinels], timeout=1.0):
            if event == bell:
                with suppress(BlockingIOError):
                    os.read(bell, 512)
            elif isinstance(event, Connection):
                self._hear(lines[event])

    def _hear(self, worker: _Worker) -> None:
        try:
            word = worker.line.recv_bytes()
        except (EOFError, OSError):
            worker.open = False
            return
        worker.heard = time.monotonic()
        if word == READY:
            worker.ready = self._served = True
            _log.info("worker serves", worker=worker.process.pid)
            self._failures = 0
            if not self._greeted and sum(one.ready for one in self._workers) == self._count:
                self._greeted = True
                self._on_ready()

    def _hang_up(self) -> None:
        for worker in self._workers:
            # One that is starting ignores the signal still, and has what it is about still to read.
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

    def _bury_the_dead(self) -> None:
        for worker in [one for one in self._workers if one.process.exitcode is not None]:
            worker.process.join()
            worker.line.close()
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

    def _kill_the_silent(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if now > self._kill_at or (worker.ready and now - worker.heard > _SILENT_SECONDS):
                _log.error(
                    "worker does not end" if self._stops else "worker hangs", worker=worker.process.pid
                )
                worker.process.kill()

    @contextmanager
    def _hearing_signals(self) -> Iterator[int]:
        """Gives a descriptor that can be read from when there is a signal."""
        bell, rope = os.pipe()
        os.set_blocking(bell, False)
        os.set_blocking(rope, False)
        numbers = [signal.SIGTERM, signal.SIGINT]
        if self._hand_on_hangup or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {
            number: signal.signal(number, lambda given, _: self._signals.append(given)) for number in numbers
        }
        waking = signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(waking)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(bell)
            os.close(rope)
