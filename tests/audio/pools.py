"""A pool of probing processes for a test, and what the system says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from mosic.audio.isolation import ProbePool
from mosic.background import Background

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@asynccontextmanager
async def pool(
    workers: int = 1,
    seconds: float = 20,
    memory_mb: int = 512,
    on_outcome: Callable[[str, float], None] | None = None,
) -> AsyncIterator[ProbePool]:
    opened = ProbePool(workers, seconds, memory_mb, background=Background(), on_outcome=on_outcome)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


def state_of(pid: int) -> tuple[str, int]:
    """State and parent of a process; `Z` when it has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return "Z", 0
    return state, int(parent)


def workers_of(parent: int) -> list[int]:
    """The probing processes that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        state, its_parent = state_of(int(entry.name))
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if state != "Z" and its_parent == parent and b"mosic.audio.worker" in command:
                found.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    return state_of(pid)[0] != "Z"
