"""The one place where kinds of works are registered."""

from __future__ import annotations

from mosic.core.works.kinds import Learns
from mosic.core.works.sound import SoundWorks, can_decode


def known_works() -> tuple[Learns, ...]:
    """Those that this installation can learn of a clip."""
    return (SoundWorks(),) if can_decode() else ()
