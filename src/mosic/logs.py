"""Log set-up: structlog and the standard library in one form, readable on a terminal, JSON elsewhere.

No log line is meant to contain a secret or the home folder. If one does, in
the message of a library or the paths of a traceback, it is replaced right before it is written.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, TextIO

import structlog

from mosic.logstream import LogStream
from mosic.settings import Settings
from mosic.wire.redaction import Redaction
from mosic.wire.text import escaped

_log = structlog.get_logger("mosic.log")


def _with_plain_values(_: Any, __: str, event: Any) -> Any:
    """Plain values, which people and programs search for: 201 and not `<HTTPStatus.CREATED: 201>`, a path and
    not `PosixPath('/srv')`."""
    for name, value in event.items():
        if isinstance(value, Enum):
            event[name] = value.value
        elif isinstance(value, PurePath):
            event[name] = str(value)
    return event


_SHARED: tuple[Any, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    _with_plain_values,
)


class _Hiding:
    """Replaces secrets and the home folder."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._redact = Redaction(secrets)

    def __call__(self, text: str) -> str:
        return without_home(self._redact(text))


def without_home(text: str) -> str:
    """The text with `~` for the home folder, which often has somebody's name in it."""
    home = _home()
    return text.replace(f"{home}/", "~/") if home else text


def _home() -> str:
    try:
        home = str(Path.home())
    except RuntimeError:  # an account without one
        return ""
    return "" if home == "/" else home


class _Json(structlog.processors.JSONRenderer):
    def __init__(self, hide: _Hiding) -> None:
        super().__init__()
        self.hide = hide

    def __call__(self, *event: Any) -> str:
        return self.hide(str(super().__call__(*event)))


class _Readable(structlog.dev.ConsoleRenderer):
    """No log line begins with text of a client: further lines of one event are indented,
    so that a client cannot forge a log line."""

    def __init__(self, hiding: _Hiding) -> None:
        # Not the renderer's default, which prints every local variable: slow, and they may contain secrets.
        super().__init__(colors=sys.stderr.isatty(), exception_formatter=_traceback)
        self._hiding = hiding

    def __call__(self, logger: Any, name: str, event: Any) -> str:
        shown = {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}
        return self._hiding(super().__call__(logger, name, shown)).replace("\n", "\n  ")


def _traceback(out: TextIO, error: Any) -> None:
    """As Python writes it."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, error)
    out.write(escaped(plain.getvalue()))


def logs_are_json() -> bool:
    """Whether the log of this process, once it is set up, is JSON; otherwise it is for people."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    return any(
        isinstance(one, structlog.stdlib.ProcessorFormatter) and isinstance(one.processors[-1], _Json)
        for one in formatters
    )


def _wants_json(settings: Settings) -> bool:
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())


def set_up_logs(settings: Settings) -> None:
    """Send every log line of the process to stderr in the format of the settings."""
    hiding = _Hiding(settings.secrets)
    render: tuple[Any, ...] = (_Readable(hiding),)
    if _wants_json(settings):
        render = (structlog.processors.format_exc_info, _Json(hiding))

    # uvicorn adds a copy of the message with terminal colours in it.
    def drop_colour_message(_: Any, __: str, event: Any) -> Any:
        event.pop("color_message", None)
        return event

    handler = logging.StreamHandler(_stream(as_json=_wants_json(settings)))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder(), drop_colour_message],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Its lines about start and shutdown repeat parts of Mosic's own lines.
    quiet = settings.log_level != "debug"
    logging.getLogger("uvicorn.error").setLevel("WARNING" if quiet else "DEBUG")
    # Mosic has its own line for each request; this one would show queries, and so signatures.
    logging.getLogger("uvicorn.access").propagate = False
    # Its lines about each step help only authors of migrations.
    logging.getLogger("alembic").setLevel("WARNING")
    # It warns of every malformed form, for which the client gets an error anyway.
    logging.getLogger("python_multipart").setLevel("ERROR")
    logging.getLogger("sqlalchemy.engine").setLevel("INFO" if settings.echo_sql else "WARNING")

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_uncaught_errors() -> None:
    """Log errors and warnings that Python would otherwise print. For a process that is only a
    service."""

    def uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
        _log.critical("unexpected error", exc_info=(kind, error, trace))

    sys.excepthook = uncaught
    threading.excepthook = lambda args: uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    logging.captureWarnings(True)


def count_dropped_lines(count: Callable[[int], None]) -> None:
    """Call `count` with the number of log lines that were dropped."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and isinstance(handler.stream, LogStream):
            handler.stream.on_dropped = count


def _stream(*, as_json: bool) -> Any:
    """stderr, without ever waiting for its reader; plain stderr if it has no descriptor."""

    def notice(lines: int) -> str:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event = "log lines were dropped: the reader of the log was too slow"
        if not as_json:
            return f"{now} [warning  ] {event} [mosic.logs] lines={lines}\n"
        fields = {
            "lines": lines,
            "event": event,
            "level": "warning",
            "logger": "mosic.logs",
            "timestamp": now,
        }
        return json.dumps(fields) + "\n"

    try:
        stream = LogStream(sys.stderr.fileno(), notice)
    except (OSError, ValueError, AttributeError):
        return sys.stderr
    atexit.register(stream.finish)
    return stream
