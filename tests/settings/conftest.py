"""Settings are read in a folder of the test's own, from nothing but what the test sets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOSIC_LOG_FORMAT")
    return tmp_path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every account can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="mosic-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
