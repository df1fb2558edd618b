"""Log set-up: structlog and the standard library in one form, readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
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


def set_up_logs(settings: Settings) -> None:
    """Send every log line of the process to stderr in the form that the settings ask for."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    render: tuple[Any, ...]
    if as_json:
        render = (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
    else:
        # Not the renderer's own choice, which prints every local variable: slow, and they may hold secrets.
        render = (
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        )

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
