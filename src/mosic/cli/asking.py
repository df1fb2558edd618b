"""What the commands that ask a service have in common: where it is, what went wrong, how they end."""

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
from mosic.client.verdict import Failed, Hopeless, Missing, Trouble
from mosic.errors import StartupError, Unauthorized
from mosic.logs import without_home
from mosic.wire.ids import parse_uuid

DONE, SOME_FAILED, WRONG_COMMAND, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""What these commands exit with."""


def find_service(url: str | None, api_key: str | None, *, needs_key: bool = True) -> Target | None:
    """As `find_target`, with all that is to be told; None, once that is told, when there is none."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # The name of a file or a clip may have letters that the terminal's encoding lacks.
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
    """Each once; with what is no id the command ends."""
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
    """To the person, who may have sent the output elsewhere."""
    typer.echo(f"mosic: {fit_to_show(without_home(text))}", err=True)


def ask(target: Target | None, work: Callable[[Clips], Awaitable[int]]) -> int:
    """Let `work` have the service; returns the exit status. What ends it early is said, once."""
    if target is None:
        return WRONG_COMMAND

    async def run() -> int:
        task = asyncio.current_task()
        assert task is not None
        if threading.current_thread() is threading.main_thread():
            # Like Ctrl-C: what is under way is closed in order.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with Clips(target.base, target.api_key) as clips:
            return await work(clips)

    try:
        return asyncio.run(run())
    except WrongCommand as error:
        say(str(error))
        return WRONG_COMMAND
    except (Failed, Hopeless, Trouble, Missing) as error:
        wants_key = target.api_key is None and f"({Unauthorized.code})" in str(error)
        say(f"{error}; give --api-key or set MOSIC_API_KEY" if wants_key else str(error))
        return SOME_FAILED
    except BrokenPipeError:
        # Whoever read has enough. Nor is the interpreter to trip over the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
