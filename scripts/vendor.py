#!/usr/bin/env python3
"""Renew or check what others made and Mosic's pages load (src/mosic/web/pages/vendor).

Usage: scripts/vendor.py            fetch the pinned packages with npm and write their files
       scripts/vendor.py --check    fetch them and compare; exit 1 when a file differs

packages.json pins each package by version and by the registry's SHA-512 of its archive, and each file by its
SHA-256. To take another version, change version and integrity there (`npm view NAME@VERSION dist.integrity`),
and run this, which writes the hashes of the files.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePath
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "src/mosic/web/pages/vendor"
PINNED = FOLDER / "packages.json"
# Code is kept compressed, as it is sent; licences are kept to be read.
COMPRESSED = (".css", ".js")


def fetch(name: str, version: str, integrity: str, folder: Path) -> Path:
    """The archive of the package, when it is the one that is pinned."""
    subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", folder, f"{name}@{version}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    archive = folder / f"{name}-{version}.tgz"
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != integrity:
        raise SystemExit(f"{name} {version}: the archive has {found}, pinned is {integrity}")
    return archive


def files_of(archive: Path, paths: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as opened:
        for path in paths:
            member = opened.extractfile(f"package/{path}")
            if member is None:
                raise SystemExit(f"{archive.name} has no file {path}")
            found[path] = member.read()
    return found


def kept_name(package: str, path: str) -> str:
    name = PurePath(path).name
    if PurePath(path).suffix in COMPRESSED:
        return f"{name}.gz"
    return f"{package}.{name}" if not name.startswith(package) else name


def kept(package: str, path: str) -> bytes:
    content = (FOLDER / kept_name(package, path)).read_bytes()
    return gzip.decompress(content) if PurePath(path).suffix in COMPRESSED else content


def main() -> int:
    checking = sys.argv[1:] == ["--check"]
    packages: dict[str, dict[str, Any]] = json.loads(PINNED.read_text())
    differing: list[str] = []
    for name, package in packages.items():
        with tempfile.TemporaryDirectory() as folder:
            archive = fetch(name, package["version"], package["integrity"], Path(folder))
            files = files_of(archive, list(package["files"]))
        for path, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            if checking:
                if package["files"][path] != digest or kept(name, path) != content:
                    differing.append(f"{name} {path}")
                continue
            package["files"][path] = digest
            compressed = PurePath(path).suffix in COMPRESSED
            made = gzip.compress(content, 9, mtime=0) if compressed else content
            (FOLDER / kept_name(name, path)).write_bytes(made)
    if not checking:
        PINNED.write_text(json.dumps(packages, indent=2) + "\n")
    for line in differing:
        print(f"differs from the registry: {line}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
