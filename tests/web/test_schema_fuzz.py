"""Whatever the OpenAPI document allows, and much that it does not, is answered without a 5xx."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.service import KEY, Service
from tests.support.sounds import wav

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
HOOKS = Path(__file__).parents[1] / "support/schemathesis_hooks.py"
EXAMPLES = 50


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_server_error_whatever_is_sent(service: Service, tmp_path: Path) -> None:
    await service.http.post("/play/upload", content=wav(), headers={"X-API-Key": KEY})
    process = await asyncio.create_subprocess_exec(
        *(str(SCHEMATHESIS), "run", f"{service.url}/openapi.json"),
        *("--header", f"X-API-Key: {KEY}"),
        *("--checks", "never_a_fault", "--max-examples", str(EXAMPLES), "--seed", "1"),
        *("--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"),
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HOOKS.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
