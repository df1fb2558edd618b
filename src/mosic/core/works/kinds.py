"""What a kind of work is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mosic.core.runtime import Runtime
from mosic.db.clips import Clip


class WorkFailed(Exception):
    """It cannot be learnt of this clip, however often it is tried.

    `code` is stable, of lower-case letters, digits and hyphens; `detail` is a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Learnt(Protocol):
    """What was learnt of a clip."""

    async def write(self, connection: Any) -> Sequence[str]:
        """Write it, in the transaction that marks the works as done; the clip is locked, and still has the
        bytes of which it was learnt. Returns the keys of blobs that may be removed after the commit. May be
        called again after a transaction that failed."""
        ...

    async def drop(self, rt: Runtime) -> None:
        """Remove what `learn` has put into the store: it was not written, as far as can be known
        (`mosic.core.changing.withdraw` leaves what has a row)."""
        ...


class Learns(Protocol):
    """Kinds of works that are learnt in one pass over the bytes of a clip."""

    @property
    def kinds(self) -> Sequence[str]:
        """Names, as clients see them: lower-case letters, digits and hyphens, at most 32. No other group has
        them."""
        ...

    @property
    def version(self) -> int:
        """Of the algorithm. A new one does nothing by itself: `mosic work --all` learns again."""
        ...

    async def learn(self, rt: Runtime, clip: Clip) -> Learnt:
        """Learn it, without a connection to the database; what takes the processor runs in a confined, nice
        process, never in this one.

        It may be cancelled, and run in two processes at once where one was taken for dead. Raises
        `WorkFailed`, which is final. `Unavailable` does not count as an attempt; whatever else it raises is
        tried again after a while, a few times.
        """
        ...
