"""The wheel carries all that an installed mosic needs."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
POETRY = TOP / ".poetry/bin/poetry"


@pytest.mark.skipif(not POETRY.exists(), reason="needs Poetry (scripts/bootstrap puts it into .poetry/)")
def test_wheel_carries_the_migrations_and_the_types(tmp_path: Path) -> None:
    subprocess.run(
        [TOP / "scripts/poetry", "build", "--quiet", "--format", "wheel", "--output", tmp_path], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    versions = {
        f"mosic/migrations/versions/{path.name}" for path in (TOP / "migrations/versions").glob("*.py")
    }
    assert versions
    assert names >= {
        "mosic/migrations/env.py",
        "mosic/migrations/script.py.mako",
        "mosic/py.typed",
        *versions,
    }
    assert {name.partition("/")[0] for name in names} == {
        "mosic",
        wheel.stem.rpartition("-py3")[0] + ".dist-info",
    }
