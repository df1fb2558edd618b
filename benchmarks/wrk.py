"""Load by wrk, with what it did read back."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server

RANGE = 64 * 1024
CONNECTIONS = 32

# wrk asks `request` for each request; the addresses and the sizes are written into it.
_SCRIPT = """\
local paths = {{ {paths} }}
local last = {last}
math.randomseed(7)
request = function()
  local path = paths[math.random(#paths)]
  if last == 0 then return wrk.format("GET", path) end
  local start = {size} * math.random(last)
  return wrk.format("GET", path, {{ ["Range"] = "bytes=" .. start .. "-" .. (start + {size} - 1) }})
end
done = function(summary, latency)
  io.write("\\nanswers ", summary.requests, " micros ", summary.duration, " bytes ", summary.bytes,
    " failed ", summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, " late ", latency:percentile(99), "\\n")
end
"""
_DONE = re.compile(r"answers (\d+) micros (\d+) bytes (\d+) failed (\d+) late (\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Measured:
    """What one run gave."""

    answers: float
    """A second."""

    size: float
    """Bytes a second, heads included."""

    cpu: float
    """Seconds of the server's processor time for one answer."""

    late: float
    """Seconds in which 99 of 100 answers were there."""


def load(server: Server, paths: Sequence[str], seconds: int, *, range_of: int | None = None) -> Measured:
    """Ask for the paths at random: whole, or one range of 64 KiB out of files of `range_of` bytes.

    Ranges begin at multiples of their size, never at the first byte: nothing is counted as a play. Raises
    `RuntimeError` when an answer was not a 200 or 206.
    """
    last = 0 if range_of is None else range_of // RANGE - 1
    script = _SCRIPT.format(paths=", ".join(f'"{path}"' for path in paths), last=last, size=RANGE)
    with tempfile.TemporaryDirectory(prefix="mosic-wrk-") as folder:
        (Path(folder) / "load.lua").write_text(script)
        before = server.cpu_seconds()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", "load.lua", server.url]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        used = server.cpu_seconds() - before
    found = _DONE.search(said)
    if found is None:
        raise RuntimeError(said)
    answers, micros, size, failed = (int(one) for one in found.groups()[:4])
    if failed or not answers:
        raise RuntimeError(f"{failed} of {answers} answers from {server.url} failed:\n{said}")
    return Measured(answers * 1e6 / micros, size * 1e6 / micros, used / answers, float(found[5]) / 1e6)
