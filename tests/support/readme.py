"""The commands of README.md, as somebody pastes them: what stands in its fenced blocks of `sh`."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(readme: str) -> list[str]:
    """Line by line, in order; a line is a whole command."""
    return [line for block in _BLOCK.findall(readme) for line in block.splitlines() if line.strip()]
