"""The progress of uploads and downloads: a line for each file, and bars on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from mosic.client.gather import Found
from mosic.client.retrying import Wait
from mosic.client.sending import Outcome, Result, Watcher

_STYLES = {Result.ADDED: "green", Result.SAVED: "green", Result.PRESENT: "dim", Result.FAILED: "red"}
_RATE_SECONDS = 10.0
_DRAW_SECONDS = 0.1
_LONG_SECONDS = 5.0
_SAME_BYTES = "waiting for another upload of the same bytes"


class Display(AbstractContextManager["Display"], Protocol):
    """`begin` and `end` frame each file. An unsent file has no line: why is shown once."""

    def begin(self, found: Found) -> Watcher: ...

    def end(self, found: Found, outcome: Outcome) -> None: ...


def open_display(files: Sequence[Found]) -> Display:
    """Bars on a terminal, else lines."""
    terminal = Console(highlight=False)
    # Not `is_terminal`, which FORCE_COLOR and the like turn on for a pipe.
    if sys.stdout.isatty() and not terminal.is_dumb_terminal:
        return Bars(files, terminal)
    return Lines()


def fit_to_show(text: str) -> str:
    """With control characters escaped: terminals obey them, and names and messages may contain any."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def line_of(found: Found, outcome: Outcome) -> tuple[str, str]:
    """The word for the result, and the rest of the line."""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.result.value:<8}", fit_to_show(found.path + reason)


class Lines:
    """For files and pipes. Failures and waits go to standard error; of the waits of one file for the same
    reason, the first and the long ones."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, found: Found) -> Watcher:
        return _Mention(found)

    def end(self, found: Found, outcome: Outcome) -> None:
        if outcome.result is not Result.UNSENT:
            typer.echo("".join(line_of(found, outcome)), err=outcome.result is Result.FAILED)


class _Mention:
    def __init__(self, found: Found) -> None:
        self._found = found
        self._mentioned: str | None = None

    def hashing(self, offset: int) -> None: ...

    def sending(self, offset: int) -> None: ...

    def resumed(self, offset: int) -> None: ...

    def finishing(self) -> None: ...

    def waiting(self, wait: Wait | None) -> None:
        reason = wait.reason if wait else _SAME_BYTES
        if reason != self._mentioned or (wait and wait.seconds >= _LONG_SECONDS):
            self._mentioned = reason
            typer.echo(
                f"mosic: {fit_to_show(self._found.path)}: {fit_to_show(str(wait or reason))}", err=True
            )


class Bars:
    """For a terminal: a bar for each unfinished file and one for all, below the lines of finished files."""

    def __init__(self, files: Sequence[Found], console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=_squeezed(ratio=3)),
            BarColumn(bar_width=None, table_column=Column(ratio=2, min_width=4)),
            TextColumn("{task.percentage:>3.0f}%", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[state]}", markup=False, table_column=_squeezed(ratio=2)),
            _Flow(table_column=Column(no_wrap=True, justify="right")),
            console=console,
            expand=True,
            # Not where standard error goes to a file.
            redirect_stderr=sys.stderr.isatty(),
        )
        self.rate = _Rate()
        self._count = len(files)
        self._ended = 0
        self._size = sum(found.size for found in files)
        self._settled = 0
        self._under_way: dict[str, _Bar] = {}
        self._whole = self.progress.add_task("All", total=self._size, state="", rate=self.rate)

    def __enter__(self) -> Bars:
        self.show_whole()
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.remove_task(self._whole)
        for bar in self._under_way.values():
            bar.remove()
        self.progress.stop()

    def begin(self, found: Found) -> Watcher:
        bar = self._under_way[found.path] = _Bar(self, found)
        return bar

    def end(self, found: Found, outcome: Outcome) -> None:
        self._under_way.pop(found.path).remove()
        self._ended += 1
        self._settled += found.size
        self.show_whole()
        if outcome.result is Result.UNSENT:
            return
        word, rest = line_of(found, outcome)
        self.progress.console.print(Text.assemble((word, _STYLES[outcome.result]), rest), soft_wrap=True)
        if outcome.result is Result.FAILED and not sys.stderr.isatty():
            typer.echo(word + rest, err=True)

    def show_whole(self) -> None:
        """To be called when a file has progressed."""
        done = self._settled + sum(bar.sent for bar in self._under_way.values())
        self.progress.update(
            self._whole,
            completed=min(done, self._size) if self._size else self._ended,
            total=self._size or self._count,
            state=f"{self._ended}/{self._count} files",
        )


class _Bar:
    """One unfinished file; `sent` is how many bytes of it the service has, as far as is known."""

    def __init__(self, bars: Bars, found: Found) -> None:
        self._bars = bars
        self._size = found.size
        self._rate = _Rate()
        self._drawn_at = 0.0
        self._task = bars.progress.add_task(
            fit_to_show(found.name), total=found.size or None, state="checking", rate=self._rate
        )
        self.sent = 0

    def remove(self) -> None:
        self._bars.progress.remove_task(self._task)

    def hashing(self, offset: int) -> None:
        # Called from another thread, which must not touch the totals of `Bars`.
        self._draw(offset, "checking")

    def sending(self, offset: int) -> None:
        for rate in (self._rate, self._bars.rate):
            rate.add(offset - self.sent)
        self.sent = offset
        if self._draw(offset, ""):
            self._bars.show_whole()

    def resumed(self, offset: int) -> None:
        self.sent = offset
        self._draw(offset, "", at_once=True)
        self._bars.show_whole()

    def finishing(self) -> None:
        self._draw(self.sent, "finishing", at_once=True)

    def waiting(self, wait: Wait | None) -> None:
        self._draw(self.sent, fit_to_show(str(wait or _SAME_BYTES)), at_once=True)

    def _draw(self, offset: int, state: str, *, at_once: bool = False) -> bool:
        """Whether it was drawn: not for every chunk, since there may be thousands in a second."""
        now = time.monotonic()
        due = at_once or now - self._drawn_at > _DRAW_SECONDS
        if due:
            self._drawn_at = now
            self._bars.progress.update(self._task, completed=min(offset, self._size), state=state)
        return due


class _Rate:
    """Bytes a second, over the last ten seconds. Read by a thread of rich."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: deque[list[float]] = deque()

    def add(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._sent or now - self._sent[-1][0] > _DRAW_SECONDS:
                self._sent.append([now, 0])
            self._sent[-1][1] += count

    def now(self) -> float:
        """0 also while too little was measured."""
        now = time.monotonic()
        with self._lock:
            while self._sent and now - self._sent[0][0] > _RATE_SECONDS:
                self._sent.popleft()
            elapsed = now - self._sent[0][0] if self._sent else 0
            return sum(count for _, count in self._sent) / elapsed if elapsed > 3 * _DRAW_SECONDS else 0


class _Flow(ProgressColumn):
    """The rate, and the time left at it. Not taken from the bar, which jumps over bytes that are not sent."""

    def render(self, task: Task) -> Text:
        rate = task.fields["rate"].now()
        if rate < 1 or task.total is None:
            return Text("")
        left = round((task.total - task.completed) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}" if left < 360_000 else "–"
        return Text(f"{decimal(round(rate))}/s {clock:>7}", style="cyan")


def _squeezed(*, ratio: int) -> Column:
    return Column(ratio=ratio, no_wrap=True, overflow="ellipsis")
