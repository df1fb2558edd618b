"""Packages of Python that tests use as programs, and that the tests themselves must not import: installed
once, kept in pytest's cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def environment(config: pytest.Config, name: str, *wanted: str) -> Path:
    """`bin` of a virtual environment that has these packages (`name==1.2.3`); skips where there is no
    index of packages."""
    assert config.cache is not None
    folder = Path(config.cache.mkdir(name))
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(wanted):
        install = ("install", "--quiet", "--disable-pip-version-check", *wanted)
        try:
            for command in (
                (sys.executable, "-m", "venv", "--clear", str(folder / "venv")),
                (str(folder / "venv/bin/python"), "-m", "pip", *install),
            ):
                subprocess.run(command, check=True, capture_output=True, timeout=240)
        except (subprocess.SubprocessError, OSError):
            pytest.skip(f"needs {', '.join(wanted)} from an index of packages")
        stamp.write_text(" ".join(wanted))
    return folder / "venv/bin"
