"""What the commands that use a service have in common: its URL, failures, exit statuses."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import typer

from mosic.cli.display import fit_to_show
from mosic.cli.target import Target, WrongCommand, find_target
from mosic.client.clips import Clips
from mosic.client.failures import Failed, NotFound, ServiceFailed, TryAgain
from mosic.errors import StartupError, Unauthorized
from mosic.logs import without_home
from mosic.wire.ids import parse_uuid

DONE, SOME_FAILED, WRONG_COMMAND, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""What these commands exit with."""


def find_service(url: str | None, api_key: str | None, *, needs_key: bool = True) -> Target | None:
    """As `find_target`, with its notices shown; None, after an error was shown, when there is none."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files and clips may have letters that the encoding of the terminal lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        target = find_target(url, api_key, needs_key=needs_key)
    except StartupError as error:
        typer.echo(f"mosic: {error}", err=True)
        return None
    except WrongCommand as error:
        say(str(error))
        return None
    for notice in target.notices:
        say(notice)
    return target


def ids_or_exit(texts: Iterable[str]) -> list[UUID]:
    """Each id once. A text that is no id ends the command."""
    found: dict[UUID, None] = {}
    for text in texts:
        try:
            found[parse_uuid(text)] = None
        except ValueError:
            say(
                f"{text} is not the id of a clip; ids look like 01a1fd3e-48c9-7366-a23d-5cc50abf371c, and "
                "`mosic list` shows them"
            )
            raise typer.Exit(WRONG_COMMAND) from None
    return list(found)


def say(text: str) -> None:
    """On standard error: the output may go to a file or a program."""
    typer.echo(f"mosic: {fit_to_show(without_home(text))}", err=True)


def call(target: Target | None, work: Callable[[Clips], Awaitable[int]], *, waits: bool = True) -> int:
    """Run `work` with the clips of the service; returns the exit status. An exception becomes one message.
    With `waits` a request that the service refuses for now is repeated when it says so; a `work` that repeats
    its requests itself goes without."""
    if target is None:
        return WRONG_COMMAND

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        if threading.current_thread() is threading.main_thread():
            # Like Ctrl-C: everything is closed in order.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        waiting = (lambda wait: say(str(wait))) if waits else None
        async with Clips(target.base, target.api_key, waiting=waiting) as clips:
            return await work(clips)

    try:
        return asyncio.run(run())
    except WrongCommand as error:
        say(str(error))
        return WRONG_COMMAND
    except (Failed, ServiceFailed, TryAgain, NotFound) as error:
        wants_key = target.api_key is None and f"({Unauthorized.code})" in str(error)
        say(f"{error}; give --api-key or set MOSIC_API_KEY" if wants_key else str(error))
        return SOME_FAILED
    except BrokenPipeError:
        # The reader has closed the pipe. Flushing the rest at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
