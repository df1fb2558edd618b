"""The one place where kinds of works are registered."""

from __future__ import annotations

from mosic.core.works.kinds import Learns


def known_works() -> tuple[Learns, ...]:
    """Those that this installation can learn of a clip."""
    return ()
