"""What a response says about a clip that was moved to the trash."""

from __future__ import annotations

RESTORABLE_UNTIL = "Mosic-Restorable-Until"
"""An HTTP-date (RFC 9110 §5.6.7): until then the clip can be restored. Without the field it cannot."""
