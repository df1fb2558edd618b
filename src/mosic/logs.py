"""Log set-up: structlog and the standard library in one form, readable on a terminal, JSON elsewhere.

Nothing here is meant to carry a secret, or to tell whose home it runs in. Should it do so all the same, in
the words of a library or the paths of a traceback, it is hidden at the last moment before it is written.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import structlog

from mosic.settings import Settings

_SHARED: tuple[Any, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


class _Hiding:
    """Replaces what must not be read, also in the form that it has inside JSON."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = {form for secret in secrets if secret for form in (secret, json.dumps(secret)[1:-1])}
        # The longest first: one may be the beginning of another.
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "…")
        return without_home(text)


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
    def __init__(self, hiding: _Hiding) -> None:
        super().__init__()
        self._hiding = hiding

    def __call__(self, *event: Any) -> str:
        return self._hiding(str(super().__call__(*event)))


class _Readable(structlog.dev.ConsoleRenderer):
    def __init__(self, hiding: _Hiding) -> None:
        # Not the renderer's own choice, which prints every local variable: slow, and they may hold secrets.
        super().__init__(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        self._hiding = hiding

    def __call__(self, *event: Any) -> str:
        return self._hiding(super().__call__(*event))


def set_up_logs(settings: Settings) -> None:
    """Send every log line of the process to stderr in the form that the settings ask for."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    hiding = _Hiding(settings.secrets)
    render: tuple[Any, ...] = (_Readable(hiding),)
    if as_json:
        render = (structlog.processors.format_exc_info, _Json(hiding))

    # uvicorn adds a copy of the message with terminal colours in it.
    def drop_colour_message(_: Any, __: str, event: Any) -> Any:
        event.pop("color_message", None)
        return event

    handler = logging.StreamHandler(sys.stderr)
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
    # There is a line of our own for each request; this one would show queries, and so signatures.
    logging.getLogger("uvicorn.access").propagate = False
    # Its lines about each step are of use only to those who write migrations.
    logging.getLogger("alembic").setLevel("WARNING")
    # It warns of every malformed form, which the client is told of already.
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
