"""Programs that some tests need and a machine may lack."""

from __future__ import annotations

import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips where one is missing, and says which."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing or programs)}")


needs_ffmpeg = needs("ffmpeg", "ffprobe")
