"""`mosic upload`: send files and folders to a service."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import typer
from rich.filesize import decimal

from mosic.cli.calling import DONE, INTERRUPTED, SOME_FAILED, TERMINATED, WRONG_COMMAND, find_service, say
from mosic.cli.display import Display, line_of, open_display
from mosic.client.failures import ServiceFailed
from mosic.client.gather import BadPath, Found, gather
from mosic.client.remembered import Remembered, state_folder
from mosic.client.sending import MEBIBYTE, Outcome, Result, Sender
from mosic.client.uploads import Uploads


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
        service_failed = asyncio.run(
            _send_all(gathered.files, Uploads(target.base, target.api_key), remembered, options, results)
        )
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        goes_on = "resumes from here" if remembered.is_saved else "skips what the service has"
        typer.echo(f"\nmosic: interrupted. {results} The same command {goes_on}.", err=True)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED
    finally:
        remembered.close()
    skipped = f" Skipped {gathered.skipped} (hidden, or no audio file by name)." if gathered.skipped else ""
    typer.echo(f"{results}{skipped}")
    if service_failed is not None:
        say(str(service_failed))
    return SOME_FAILED if service_failed is not None or results.counts[Result.FAILED] else DONE


async def _send_all(
    files: Sequence[Found], server: Uploads, remembered: Remembered, options: Options, results: _Results
) -> ServiceFailed | None:
    """Returns why the service failed, if not all files were tried."""
    task = asyncio.current_task()
    assert task is not None
    if threading.current_thread() is threading.main_thread():
        # Like Ctrl-C: the default would leave a terminal with bars without its cursor.
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
        return sender.failure


async def _work(following: Iterator[Found], sender: Sender, display: Display, results: _Results) -> None:
    for found in following:
        outcome = await sender.send(found, display.begin(found))
        results.add(found, outcome)
        display.end(found, outcome)
