"""`mosic upload`: files and folders to a service, until it has them all."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import typer
from rich.filesize import decimal
from yarl import URL

from mosic.cli.display import Display, fit_to_show, line_of, open_display
from mosic.cli.gather import BadPath, Found, gather
from mosic.cli.remembered import Remembered, state_folder
from mosic.cli.sending import MEBIBYTE, Outcome, Result, Sender
from mosic.cli.transfer import Server, is_local
from mosic.errors import StartupError
from mosic.keys.open import load_keys
from mosic.settings import Settings, load_settings

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_SAME_REASON = 5
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")


@dataclass(frozen=True, slots=True)
class Options:
    """As on the command line: None is «not given». `chunk_mb` is in MiB."""

    url: str | None = None
    api_key: str | None = None
    jobs: int = 3
    retries: int = 8
    chunk_mb: float | None = None


class WrongCommand(Exception):
    """The command makes no sense as it was given; the message says why."""


@dataclass(slots=True)
class _Tally:
    counts: Counter[Result] = field(default_factory=Counter)
    added_bytes: int = 0
    failures: dict[str, list[Found]] = field(default_factory=dict)

    def add(self, found: Found, outcome: Outcome) -> None:
        self.counts[outcome.result] += 1
        if outcome.result is Result.ADDED:
            self.added_bytes += found.size
        elif outcome.result is Result.FAILED:
            self.failures.setdefault(outcome.reason, []).append(found)

    def __str__(self) -> str:
        size = f" ({decimal(self.added_bytes)})" if self.added_bytes else ""
        return (
            f"Added {self.counts[Result.ADDED]}{size}, already there {self.counts[Result.PRESENT]}, "
            f"failed {self.counts[Result.FAILED]}."
        )

    def explained(self) -> Iterator[str]:
        """Each failure; of many with one reason the first, as each had its line when it happened."""
        for reason, files in self.failures.items():
            shown = files if len(files) <= _SAME_REASON else files[:1]
            yield from (line_of(found, Outcome(Result.FAILED, reason))[1] for found in shown)
            if more := len(files) - len(shown):
                yield f"and {more} more for the same reason"


def upload(paths: Sequence[str], options: Options) -> int:
    """Returns the exit status: 0 when the service has every file, 1 when some failed, 2 when the command is
    wrong, 130 after Ctrl-C, 143 after SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # The name of a file may have letters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        settings = load_settings()
        base = _base(options.url, settings)
        api_key = _api_key(options, base, settings)
        gathered = gather(paths)
    except StartupError as error:
        typer.echo(f"mosic: {error}", err=True)
        return 2
    except (WrongCommand, BadPath) as error:
        typer.echo(f"mosic: {fit_to_show(str(error))}", err=True)
        return 2
    except KeyboardInterrupt:
        return 130

    tally = _Tally()
    for folder, reason in gathered.unreadable:
        failure = Found(folder, 0), Outcome(Result.FAILED, reason)
        tally.add(*failure)
        typer.echo("".join(line_of(*failure)))
    remembered = Remembered(state_folder())
    try:
        asyncio.run(_send_all(gathered.files, Server(base, api_key), remembered, options, tally))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        goes_on = "goes on from here" if remembered.lasting else "skips what is there"
        typer.echo(f"\nmosic: interrupted. {tally} The same command {goes_on}.", err=True)
        return 130 if isinstance(error, KeyboardInterrupt) else 143
    finally:
        remembered.close()
    passed_over = (
        f" Passed over {gathered.passed_over} (hidden, or no audio by name)." if gathered.passed_over else ""
    )
    typer.echo(f"{tally}{passed_over}")
    if tally.failures:
        typer.echo("\n  ".join(("mosic: these failed:", *tally.explained())), err=True)
        return 1
    return 0


async def _send_all(
    files: Sequence[Found], server: Server, remembered: Remembered, options: Options, tally: _Tally
) -> None:
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
                asyncio.create_task(_work(following, sender, display, tally)) for _ in range(options.jobs)
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)


async def _work(following: Iterator[Found], sender: Sender, display: Display, tally: _Tally) -> None:
    for found in following:
        outcome = await sender.send(found, display.begin(found))
        tally.add(found, outcome)
        display.end(found, outcome)


def _base(given: str | None, settings: Settings) -> URL:
    """The address that `play` is below. Raises `WrongCommand`."""
    text = settings.public_url if given is None else given
    if text is None:
        if settings.app_port == 0:
            raise WrongCommand("MOSIC_APP_PORT=0 does not say where the service listens: give --url")
        host = _EVERYWHERE.get(settings.host, settings.host)
        text = f"http://[{host}]:{settings.app_port}" if ":" in host else f"http://{host}:{settings.app_port}"
    try:
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text):
            raise ValueError
        return URL(text.rstrip("/"))
    except ValueError:
        # Not repeated: it may have a password.
        raise WrongCommand(
            "--url must be an http:// or https:// address without query, such as https://music.example"
        ) from None


def _api_key(options: Options, base: URL, settings: Settings) -> str:
    """The first of those given, else one that the service of this very folder reads or made for itself,
    unless the files go somewhere else. Raises `WrongCommand` and `StartupError`.
    """
    if options.api_key is not None:
        api_key = options.api_key.partition(",")[0].strip()
        if not _KEY.fullmatch(api_key):
            raise WrongCommand("--api-key must be visible ASCII characters, without spaces")
        return api_key
    if settings.given_keys:
        return settings.given_keys[0].api_key
    if options.url is None or is_local(base) or str(base) == settings.public_url:
        return _made_key(settings) if settings.makes_key else load_keys(settings)[0].api_key
    raise WrongCommand("an API key is needed: give --api-key or set MOSIC_API_KEY")


def _made_key(settings: Settings) -> str:
    file = settings.made_key_file
    try:
        api_key = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a key"
        raise WrongCommand(
            f"an API key is needed: give --api-key or set MOSIC_API_KEY ({file}: {why})"
        ) from None
    if not _KEY.fullmatch(api_key):
        raise WrongCommand(f"{file} holds no key; give --api-key or set MOSIC_API_KEY")
    return api_key
