"""Fixtures for the tests of audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosic.audio import process
from tests.audio.made import frames, id3_tag
from tests.support.probes import KeptProbes


@pytest.fixture(autouse=True)
async def _no_kept_processes() -> None:
    """Tests here count the processes that probe."""
    await KeptProbes.end_all()


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
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the processes of pools started from now on read without end."""
    path = tmp_path / "endless.mp3"
    path.write_bytes(b"endless")
    monkeypatch.setattr(process, "_BOOT", _BOOT)
    return path


_BOOT = f"""
import sys
sys.path[:] = sys.argv[3:]
from mosic.audio import worker

def probe_open(file, known=worker.probe_open):
    while file.read(7) == b"endless":
        file.seek(0)
    return known(file)

worker.probe_open = probe_open
{process._BOOT}
"""
