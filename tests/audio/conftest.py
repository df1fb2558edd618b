"""Fixtures for the tests of audio."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.audio.made import frames, id3_tag


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where `made.make` keeps what it makes, so that each tone is encoded once."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mp3"
    path.write_bytes(id3_tag(b"TIT2\0\0\0\5\0\0\0Song") + frames())
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: whoever opens it to read waits for ever."""
    path = tmp_path / "endless.mp3"
    os.mkfifo(path)
    return path
