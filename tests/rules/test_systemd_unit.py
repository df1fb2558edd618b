"""The units that docs/install.md and docs/backup.md give, as systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
_SYSTEMD_ANALYZE = shutil.which("systemd-analyze")


def unit() -> str:
    (found,) = re.findall(r"```ini\n(\[Unit\].*?)```", (_DOCUMENTS / "install.md").read_text(), re.DOTALL)
    return str(found)


def backup_units() -> dict[str, str]:
    """By name."""
    text = (_DOCUMENTS / "backup.md").read_text()
    return dict(re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", text, re.DOTALL))


def test_restarts_are_spaced_and_never_given_up() -> None:
    """systemd's own defaults are a tenth of a second, and the end after five of them: a database that is away
    for half a minute would end the service for good."""
    settings = dict(line.split("=", 1) for line in unit().splitlines() if "=" in line and line[0] != "#")
    assert settings["Restart"] == "on-failure"
    assert 1 <= float(settings["RestartSec"].removesuffix("s")) <= 60
    assert settings["StartLimitIntervalSec"] == "0"


@pytest.mark.skipif(_SYSTEMD_ANALYZE is None, reason="needs systemd-analyze")
def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    assert _SYSTEMD_ANALYZE is not None
    units = {"mosic.service": unit(), **backup_units()}
    assert set(units) == {"mosic.service", "mosic-backup.service", "mosic-backup.timer"}
    for name, text in units.items():
        # Neither the program nor the account is on this machine.
        here = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text).replace("User=mosic", "User=root")
        (tmp_path / name).write_text(here)
    ended = subprocess.run(
        [_SYSTEMD_ANALYZE, "verify", *(tmp_path / name for name in units)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    complaints = [line for line in ended.stderr.splitlines() if "mosic" in line]
    assert (ended.returncode, complaints) == (0, [])
