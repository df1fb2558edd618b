"""What a task says of a file that it can do nothing with."""

from __future__ import annotations


class Refused(Exception):
    """`code` is stable and short, `detail` is for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
