"""What others made and Mosic's pages load: pinned, unchanged, with its licences."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import needs

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "src/mosic/web/pages/vendor"
PINNED = json.loads((FOLDER / "packages.json").read_text())


def contents() -> dict[str, str]:
    """SHA-256 of every file that is there, decompressed, to its name."""
    return {
        hashlib.sha256(
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        ).hexdigest(): path.name
        for path in FOLDER.iterdir()
        if path.name != "packages.json"
    }


def test_every_file_is_pinned_and_no_other_is_there() -> None:
    pinned = {digest for package in PINNED.values() for digest in package["files"].values()}
    assert set(contents()) == pinned


@pytest.mark.parametrize("name", PINNED)
def test_each_package_names_its_licence_and_brings_its_text(name: str) -> None:
    package = PINNED[name]
    text = (FOLDER / f"{name}.LICENSE").read_text()
    assert {"MIT": "MIT License", "Apache-2.0": "Apache License"}[package["license"]] in text
    assert f"{name} {package['version']} ({package['license']})" in (
        TOP / "docs/decisions/0021-pages.md"
    ).read_text().replace("`", "")


@pytest.mark.slow
@needs("npm")
def test_the_registry_has_the_same() -> None:
    checked = subprocess.run(
        [sys.executable, TOP / "scripts/vendor.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
