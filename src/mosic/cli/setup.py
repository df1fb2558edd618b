"""The first steps of every command that works on a service itself: settings, logs, warnings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from mosic.errors import StartupError
from mosic.logs import logs_are_json, set_up_logs
from mosic.settings import Settings, read_settings

_log = structlog.get_logger("mosic.settings")


def set_up(**overrides: Any) -> Settings:
    """Read the settings, set up the log, and log what the operator should know about them.

    Raises `StartupError`.
    """
    try:
        reading = read_settings(**overrides)
    except StartupError:
        set_up_logs(_least())
        raise
    set_up_logs(reading.settings)
    if from_file := sorted(value.name for value in reading.values.values() if value.file is not None):
        (file,) = {value.file for value in reading.values.values() if value.file is not None}
        _log.info("settings from a file", file=str(file), names=from_file)
    for notice in reading.notices:
        _log.warning(notice)
    return reading.settings


@contextmanager
def failures_in_the_log() -> Iterator[None]:
    """Where log lines are JSON, log the sentence that a start fails with. Elsewhere the caller shows it."""
    try:
        yield
    except StartupError as error:
        if not logs_are_json():
            raise
        _log.critical(str(error))
        sys.exit(1)


def _least() -> Settings:
    """To log that the settings are invalid."""
    try:
        return Settings(log_format=os.environ["MOSIC_LOG_FORMAT"])
    except (KeyError, ValueError):
        return Settings()
