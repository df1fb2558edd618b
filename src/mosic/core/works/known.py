"""The one place where kinds of works are registered."""

from __future__ import annotations

from mosic.core.works.chapters import ChapterWorks
from mosic.core.works.kinds import Learns
from mosic.core.works.sound import SoundWorks, can_decode

ON_REQUEST = frozenset(ChapterWorks.kinds)
"""What an upload has learnt already: only `mosic work` has it learnt."""


def known_works() -> tuple[Learns, ...]:
    """Those that this installation can learn of a clip."""
    return (*((SoundWorks(),) if can_decode() else ()), ChapterWorks())
