"""Packages of npm that tests use as clients: fetched once, kept in pytest's cache."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


def packages(config: pytest.Config, name: str, *wanted: str) -> Path:
    """A folder with `node_modules` that has these packages (`tus-js-client@4.3.1`); skips without npm."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    assert config.cache is not None
    folder = Path(config.cache.mkdir(name))
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(wanted):
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *wanted]
        # Node trusts its own list of authorities only; the machine may have more.
        trusted = {"NODE_EXTRA_CA_CERTS": ssl.get_default_verify_paths().cafile or ""} | os.environ
        try:
            subprocess.run(
                [*install, "--prefix", str(folder)],
                check=True,
                capture_output=True,
                timeout=240,
                cwd=folder,
                env=trusted,
            )
        except (subprocess.SubprocessError, OSError):
            pytest.skip(f"needs {', '.join(wanted)} from npm")
        stamp.write_text(" ".join(wanted))
    return folder
