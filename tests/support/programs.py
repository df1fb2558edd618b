"""Programs that some tests need and a machine may lack."""

from __future__ import annotations

import shutil

import pytest

# The Debian package that each of them is in. `.ci/run` installs it, where no test may be skipped.
PACKAGES = {
    "aria2c": "aria2",
    "chromium": "chromium",
    "curl": "curl",
    "fail2ban-client": "fail2ban",
    "fail2ban-regex": "fail2ban",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
    "git": "git",
    "haproxy": "haproxy",
    "java": "default-jdk-headless",
    "make": "make",
    "mpcenc": "musepack-tools",
    "mpv": "mpv",
    "npm": "npm",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "shellcheck": "shellcheck",
    "sox": "sox",
    "wget": "wget",
    "zsh": "zsh",
}


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips where one is missing, and says which."""
    unknown = set(programs) - PACKAGES.keys()
    assert not unknown, f"say in PACKAGES what package has {unknown}"
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing or programs)}")


needs_ffmpeg = needs("ffmpeg", "ffprobe")
