"""What schemathesis has to be told about this service (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
