"""The time limits that a service has for its database: long in tests, because a machine may be slow, and
short in those that are about them."""

from __future__ import annotations

import importlib

import pytest

_NAMES = (
    "mosic.core.facts._PATIENCE",
    "mosic.core.health._COMPARE_SECONDS",
    "mosic.core.health._SECONDS",
    "mosic.db.changes._ANSWER_SECONDS",
    "mosic.db.connecting.CONNECT_SECONDS",
    "mosic.db.engine._ACQUIRE_SECONDS",
    "mosic.db.engine._PING_SECONDS",
    "mosic.db.engine._POOL_WAIT_SECONDS",
    "mosic.db.plays._CONNECT_SECONDS",
    "mosic.db.plays._PING_SECONDS",
)


def _usual(name: str) -> float:
    module, _, constant = name.rpartition(".")
    seconds: float = getattr(importlib.import_module(module), constant)
    return seconds


_USUAL = {name: _usual(name) for name in _NAMES}


def wait_for_the_database(patch: pytest.MonkeyPatch, *, times: float) -> None:
    """From now on it is waited for so many times as long as usual."""
    for name, seconds in _USUAL.items():
        patch.setattr(name, times * seconds)
