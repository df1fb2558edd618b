"""Fixtures of the tests that run commands in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mosic.logs import set_up_logs
from mosic.settings import Settings


@pytest.fixture
def logs_restored() -> Iterator[None]:
    """A command sets the logs up for a process of its own; those that come behind it here have others."""
    yield
    set_up_logs(Settings(log_format="json", log_level="warning"))
    logging.getLogger().handlers.clear()
