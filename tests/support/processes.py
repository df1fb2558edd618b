"""What the system says of a process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until


def is_running(pid: int) -> bool:
    """Not one that has ended and that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "XZ"
    return not Path("/proc/self").exists()


def wait_until_gone(pid: int) -> None:
    wait_until(lambda: not is_running(pid), lambda: f"process {pid} lives on")
