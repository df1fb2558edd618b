"""uvicorn's server with an end of its own: in order, in time, and with everything done that was promised."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from uvicorn.lifespan.on import LifespanOn

from mosic.server.listening import why_not

STARTUP_FAILURE = 3

_log = structlog.get_logger("mosic.server")

_POLL_SECONDS = 0.05
# How long a request that is cut off may clean up: an upload that is being published gets published.
_CLEAN_UP_SECONDS = 10.0
# One press of Ctrl-C, or one `systemctl stop`, may reach a process in two ways.
_SAME_SIGNAL_SECONDS = 0.5
# Beyond the time that open requests have: cutting off, writing plays, stopping the database. A worker of
# several is killed after the same time.
_CLOSING_SECONDS = 30.0


class OrderlyServer(uvicorn.Server):
    """On the first signal it takes no new connections, and open requests have `shutdown_seconds` to end; on
    a second one they are cut off at once. Then the application closes, in both cases: plays that wait are
    written. A third signal ends the process at once, and so does a time limit for all of this, whatever
    hangs: a database, a disk, a thread.

    uvicorn itself knows a second SIGINT only, and after it leaves the application open; it closes the
    application while the requests that it cut off are still cleaning up; it raises the signal again at the
    end, so that an orderly end looks like a death.
    """

    def __init__(
        self, config: uvicorn.Config, shutdown_seconds: float, on_started: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._shutdown_seconds = shutdown_seconds
        self._on_started = on_started
        self._last_signal = 0.0
        self._told_to_stop = False

    @property
    def status(self) -> int:
        """Of the process, once the server has ended."""
        return 0 if self.started or self._told_to_stop else STARTUP_FAILURE

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        starting = asyncio.create_task(self._start(sockets))
        while not starting.done() and not self._told_to_stop:
            await asyncio.wait((starting,), timeout=_POLL_SECONDS)
        if starting.done():
            if failure := starting.result():
                raise failure
            return
        # It may wait for a database, or for another process that migrates it.
        starting.cancel()
        await asyncio.wait((starting,))
        if isinstance(self.lifespan, LifespanOn):
            await self.lifespan.receive_queue.put({"type": "lifespan.shutdown"})
            await self.lifespan.shutdown_event.wait()
        for listening in (*getattr(self, "servers", ()), *(sockets or ())):
            listening.close()
        _log.info("stopped before the service had started")

    async def _start(self, sockets: list[socket.socket] | None) -> SystemExit | None:
        """A `SystemExit` is returned: raised in a task, it would end the event loop at once."""
        try:
            await super().startup(sockets=sockets)
        except SystemExit as failure:
            return failure
        except OSError as error:
            # Bound already, but another process was faster to listen there.
            _log.error(why_not(error, self.config.host, self.config.port))
            for server in self.servers:
                server.close()
            await self.lifespan.shutdown()
            self.should_exit = True
            return None
        if self.started:
            # What is in memory now stays. To search it for garbage again and again takes a tenth of the time.
            gc.collect()
            gc.freeze()
            gc.enable()
            if self._on_started is not None:
                self._on_started()
        return None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._told_to_stop = True
        if not self.should_exit:
            self.should_exit = True
            _end_after(self._shutdown_seconds + _CLOSING_SECONDS)
        elif now - self._last_signal < _SAME_SIGNAL_SECONDS:
            return
        elif not self.force_exit:
            self.force_exit = True
            _end_after(_CLOSING_SECONDS)
        else:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        self._last_signal = now

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        state = self.server_state
        # Those that wait for a request are closed; the others close after the response that is being made.
        for connection in list(state.connections):
            connection.shutdown()
        _log.info("stopping", requests=len(state.tasks))
        deadline = time.monotonic() + self._shutdown_seconds
        while (state.connections or state.tasks) and not self.force_exit and time.monotonic() < deadline:
            await self._while_stopping()
            await asyncio.sleep(_POLL_SECONDS)
        if late := list(state.tasks):
            _log.warning("requests were cut off", requests=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=_CLEAN_UP_SECONDS)
        for connection in list(state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()
        _log.info("stopped")

    async def _while_stopping(self) -> None:
        """As `on_tick` does while it serves."""
        now = time.time()
        if self.config.callback_notify is not None and now - self.last_notified > self.config.timeout_notify:
            self.last_notified = now
            await self.config.callback_notify()


def _end_after(seconds: float) -> None:
    """End the process then, if it still runs: what waits in it for a thread or for the network could wait
    longer than the program that stops it."""

    def end() -> None:
        _log.critical("the service ended before everything was closed: closing took too long")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


class WorkerServer(OrderlyServer):
    """One of several: SIGINT is for the process above it, which passes it on as SIGTERM."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)
