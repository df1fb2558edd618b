"""`python -m benchmarks [name …]`: all of them, or those that are named."""

from __future__ import annotations

import importlib
import sys

NAMES = ("uploads", "streams")
# Takes minutes and much disk, so only when it is named.
OTHERS = ("catalogue",)


def main() -> None:
    wanted = sys.argv[1:] or NAMES
    unknown = set(wanted) - {*NAMES, *OTHERS}
    if unknown:
        sys.exit(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join((*NAMES, *OTHERS))}")
    for name in wanted:
        importlib.import_module(f"benchmarks.{name}").run()


if __name__ == "__main__":
    main()
