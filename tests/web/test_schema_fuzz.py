"""Whatever the OpenAPI document allows, and much that it does not, is answered as it says, without a 5xx."""

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
    # Right, though no schema can say it: bytes that are no audio, wrong digests and preconditions that do not
    # hold are refused. tus has 412 for a missing version. A word in a path can be the id of a clip, whose
    # methods Allow names too. An unknown method is 501, a known one 405 (RFC 9110 §9.1): `never_a_fault`.
    (tmp_path / "schemathesis.toml").write_text(
        '[phases.coverage]\nunexpected-methods = ["DELETE", "GET", "PATCH", "POST", "PUT", "OPTIONS"]\n'
        '[checks.missing_required_header]\nexpected-statuses = ["4xx"]\n'
        '[checks.negative_data_rejection]\nexpected-statuses = ["4xx", "501", "507"]\n'
    )
    process = await asyncio.create_subprocess_exec(
        *(str(SCHEMATHESIS), "run", f"{service.url}/openapi.json"),
        *("--header", f"X-API-Key: {KEY}"),
        *(
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance,allow_header_conformance",
            "--max-examples",
            str(EXAMPLES),
            "--seed",
            "1",
        ),
        *("--phases", "examples,coverage,fuzzing,stateful", "--suppress-health-check", "all"),
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HOOKS.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-30000:]
