"""`python -m mosic` is `mosic`."""

from __future__ import annotations

from mosic.cli.main import app

app()
