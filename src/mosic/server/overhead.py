"""How much a client sends that is no content, and how much of it is allowed."""

from __future__ import annotations

from mosic.errors import HeadTooLarge
from mosic.server import limits


class Overhead:
    """Counts bytes of the request that is being read: of its head, of its trailers, and of what frames its
    body beyond the allowance."""

    __slots__ = ("framing", "head", "trailers")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A head is complete."""
        self.head = self.trailers = self.framing = 0

    def content(self, size: int) -> None:
        """Of what was counted as framing so much is content, and allows for framing of its own."""
        self.framing -= size * (limits.FRAMING_PER_BYTE + 1)

    def trailer(self, name: bytes, value: bytes) -> None:
        """Raises `HeadTooLarge`."""
        self.trailers += len(name) + len(value) + 4
        if self.trailers > limits.MAX_HEAD_SIZE:
            raise _trailers_too_large()

    def of_head(self) -> HeadTooLarge | None:
        """The error when the head is too large."""
        if self.head <= limits.MAX_HEAD_SIZE:
            return None
        return HeadTooLarge(f"The head of a request may have at most {limits.MAX_HEAD_SIZE} bytes.")

    def of_body(self) -> HeadTooLarge | None:
        """The error when there is too much framing. What is left of an allowance is not for later."""
        if self.framing > limits.MAX_HEAD_SIZE:
            return _trailers_too_large()
        self.framing = max(0, self.framing)
        return None


def _trailers_too_large() -> HeadTooLarge:
    return HeadTooLarge(f"Trailers and chunk extensions may have at most {limits.MAX_HEAD_SIZE} bytes.")
