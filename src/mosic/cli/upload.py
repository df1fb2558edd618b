"""`mosic upload`: files and folders to a service, until it has them all."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import typer
from rich.filesize import decimal

from mosic.cli.asking import DONE, INTERRUPTED, SOME_FAILED, TERMINATED, WRONG_COMMAND, find_service, say
from mosic.cli.display import Display, line_of, open_display
from mosic.client.gather import BadPath, Found, gather
from mosic.client.remembered import Remembered, state_folder
from mosic.client.sending import MEBIBYTE, Outcome, Result, Sender
from mosic.client.transfer import Server
from mosic.client.verdict import Hopeless


@dataclass(frozen=True, slots=True)
class Options:
    """As on the command line: None is «not given». `chunk_mb` is in MiB."""

    url: str | None = None
    api_key: str | None = None
    jobs: int = 3
    retries: int = 8
    chunk_mb: float | None = None


@dataclass(slots=True)
class _Results:
    counts: Counter[Result] = field(default_factory=Counter)
    added_bytes: int = 0

    def add(self, found: Found, outcome: Outcome) -> None:
        self.counts[outcome.result] += 1
        if outcome.result is Result.ADDED:
            self.added_bytes += found.size

    def __str__(self) -> str:
        size = f" ({decimal(self.added_bytes)})" if self.added_bytes else ""
        unsent = f", not sent {count}" if (count := self.counts[Result.UNSENT]) else ""
        return (
            f"Added {self.counts[Result.ADDED]}{size}, already there {self.counts[Result.PRESENT]}, "
            f"failed {self.counts[Result.FAILED]}{unsent}."
        )


def upload(paths: Sequence[str], options: Options) -> int:
    """Returns the exit status: 0 when the service has every file, 1 when some failed, 2 when the command is
    wrong, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        target = find_service(options.url, options.api_key)
        if target is None:
            return WRONG_COMMAND
        gathered = gather(paths)
    except BadPath as error:
        say(str(error))
        return WRONG_COMMAND
    except KeyboardInterrupt:
        return INTERRUPTED
    results = _Results()
    for folder, reason in gathered.unreadable:
        failure = Found(folder, 0), Outcome(Result.FAILED, reason)
        results.add(*failure)
        typer.echo("".join(line_of(*failure)), err=True)
    remembered = Remembered(state_folder())
    try:
        hopeless = asyncio.run(
            _send_all(gathered.files, Server(target.base, target.api_key), remembered, options, results)
        )
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        goes_on = "resumes from here" if remembered.lasting else "skips what the service has"
        typer.echo(f"\nmosic: interrupted. {results} The same command {goes_on}.", err=True)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED
    finally:
        remembered.close()
    passed_over = (
        f" Skipped {gathered.passed_over} (hidden, or no audio file by name)." if gathered.passed_over else ""
    )
    typer.echo(f"{results}{passed_over}")
    if hopeless is not None:
        say(str(hopeless))
    return SOME_FAILED if hopeless is not None or results.counts[Result.FAILED] else DONE


async def _send_all(
    files: Sequence[Found], server: Server, remembered: Remembered, options: Options, results: _Results
) -> Hopeless | None:
    """Why not all were tried, if that is so."""
    task = asyncio.current_task()
    assert task is not None
    if threading.current_thread() is threading.main_thread():
        # Like Ctrl-C: the default would leave the terminal as it is while bars are drawn, without a cursor.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    piece = None if options.chunk_mb is None else max(1, round(options.chunk_mb * MEBIBYTE))
    async with server:
        sender = Sender(server, remembered, retries=options.retries, piece=piece)
        with open_display(files) as display:
            following = iter(files)
            workers = [
                asyncio.create_task(_work(following, sender, display, results)) for _ in range(options.jobs)
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return sender.hopeless


async def _work(following: Iterator[Found], sender: Sender, display: Display, results: _Results) -> None:
    for found in following:
        outcome = await sender.send(found, display.begin(found))
        results.add(found, outcome)
        display.end(found, outcome)
