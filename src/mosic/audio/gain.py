"""ReplayGain 2.0: https://wiki.hydrogenaudio.org/index.php?title=ReplayGain_2.0_specification."""

from __future__ import annotations

REFERENCE_LUFS = -18.0


def replay_gain(integrated_lufs: float | None) -> float | None:
    """What to add to the level of audio of this loudness, in dB; None where it has none."""
    return None if integrated_lufs is None else round(REFERENCE_LUFS - integrated_lufs, 2)
