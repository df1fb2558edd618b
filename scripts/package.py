#!/usr/bin/env python3
"""Build what a release consists of. `make wheel` calls it; docs/releasing.md says how a release is made.

Usage: scripts/package.py [--output dist]       wheel, source archive, constraints.txt
       scripts/package.py --check-tag v0.2.0    exit 1 where the tag does not fit version and changelog
       scripts/package.py --notes               what the changelog says of this version

Outside of the repository the links of README.md would lead nowhere. In what is built they lead to the same
files of this version on the web, and the metadata name its pages. Where that is, REPOSITORY_URL says, or
GitHub where it runs this, or a remote `origin` at GitHub. Where none does, there are no links.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((TOP / "pyproject.toml").read_text())
VERSION: str = PROJECT["project"]["version"]

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_RELATIVE = r"(?![a-z][a-z0-9+.-]*:|//|#)"
_MARKDOWN = re.compile(rf"(!?)\[((?:[^\[\]]|!?\[[^\]]*\](?:\([^()]*\))?)*)\]\({_RELATIVE}([^()\s]+)\)")
_ATTRIBUTE = re.compile(rf'(\s)(src|srcset|href)="{_RELATIVE}([^"]+)"')
_AT_GITHUB = re.compile(
    r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)

# The door that every builder of packages has (PEP 517); `poetry build` takes seconds more.
_BUILD = """
import sys
from poetry.core.masonry import api
api.build_sdist(sys.argv[1])
api.build_wheel(sys.argv[1])
"""


def home(environment: Mapping[str, str], remote: str) -> str | None:
    """The repository on the web, without a slash at the end; `remote` is what git knows as `origin`."""
    if given := environment.get("REPOSITORY_URL"):
        return given.rstrip("/")
    if environment.get("GITHUB_REPOSITORY"):
        return f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}"
    at_github = _AT_GITHUB.fullmatch(remote)
    return f"https://github.com/{at_github[1]}" if at_github else None


def outside(text: str, at: str | None, version: str = VERSION) -> str:
    """A document of the repository's top as it is to be read elsewhere; without `at` links are only text."""

    def there(path: str, kind: str) -> str:
        return f"{at}/{kind}/v{version}/{path.removeprefix('./')}"

    def link(found: re.Match[str]) -> str:
        picture, shown, path = found.groups()
        shown = _MARKDOWN.sub(link, shown)  # a picture that is a link
        if at is None:
            return shown
        return f"{picture}[{shown}]({there(path, 'raw' if picture else 'blob')})"

    def attribute(found: re.Match[str]) -> str:
        space, name, path = found.groups()
        return f'{space}{name}="{there(path, "blob" if name == "href" else "raw")}"' if at else ""

    pieces = _CODE.split(text)
    # Of a split by a group every second piece is code, which may stand inside of a link: put back afterwards.
    whole = "\0".join(pieces[::2])
    whole = _ATTRIBUTE.sub(attribute, _MARKDOWN.sub(link, whole))
    code = iter(pieces[1::2])
    return re.sub("\0", lambda _: next(code), whole)


def urls(at: str) -> dict[str, str]:
    return {
        "Homepage": at,
        "Documentation": f"{at}/tree/v{VERSION}/docs",
        "Changelog": f"{at}/blob/v{VERSION}/CHANGELOG.md",
        "Source": f"{at}/tree/v{VERSION}",
        "Issues": f"{at}/issues",
    }


def constraints() -> str:
    """The versions that poetry.lock has for those who run Mosic, as pip reads them."""
    lines = [f"# pip install --constraint constraints.txt mosic-{VERSION}-py3-none-any.whl"]
    for package in tomllib.loads((TOP / "poetry.lock").read_text())["package"]:
        if "main" in package["groups"]:
            marker = package.get("markers", "")
            if isinstance(marker, dict):
                marker = marker.get("main", "")
            # pip asks for no extra when it reads constraints: one that names an extra would never apply.
            marker = re.sub(r'(?: and )?extra == "[^"]+"', "", marker)
            lines.append(f"{package['name']}=={package['version']}" + (f" ; {marker}" if marker else ""))
    return "\n".join(lines) + "\n"


def section(changelog: str, version: str) -> tuple[str, str] | None:
    """(date, text) of a version."""
    found = re.search(
        rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)$\n(.*?)(?=^## |\Z)", changelog, re.M | re.S
    )
    return (found[1], found[2].strip()) if found else None


def faults(tag: str, changelog: str) -> list[str]:
    """Why a tag is none to release."""
    found = []
    if tag != f"v{VERSION}":
        found.append(f"The tag is {tag}, the version in pyproject.toml {VERSION}.")
    if section(changelog, VERSION) is None:
        found.append(f"CHANGELOG.md has no «## [{VERSION}] - date».")
    unreleased = re.search(r"^## \[Unreleased\]$\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if unreleased and unreleased[1].strip():
        found.append("CHANGELOG.md has lines under «Unreleased»: they belong to this version now.")
    return found


def git(*arguments: str) -> str:
    """What it says; nothing where this is no checkout."""
    run = subprocess.run(["git", *arguments], cwd=TOP, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else ""


def build(output: Path, at: str | None) -> None:
    needed = {"pyproject.toml", "README.md", *PROJECT["project"]["license-files"]}
    needed |= {package.get("from", package["include"]) for package in PROJECT["tool"]["poetry"]["packages"]}
    with tempfile.TemporaryDirectory() as folder:
        for name in needed:
            source, target = TOP / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        readme = Path(folder) / "README.md"
        readme.write_text(outside(readme.read_text(), at))
        if at is not None:
            with (Path(folder) / "pyproject.toml").open("a") as project:
                project.write("\n[project.urls]\n")
                project.writelines(f'{name} = "{url}"\n' for name, url in urls(at).items())
        # So that the same commit gives the same bytes.
        moment = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")
        output.mkdir(parents=True, exist_ok=True)
        for old in (*output.glob("mosic-*.whl"), *output.glob("mosic-*.tar.gz")):
            old.unlink()
        subprocess.run(
            [TOP / ".poetry/bin/python", "-c", _BUILD, output],
            check=True,
            cwd=folder,
            env=os.environ | ({"SOURCE_DATE_EPOCH": moment} if moment else {}),
        )
    (output / "constraints.txt").write_text(constraints())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=TOP / "dist")
    parser.add_argument("--check-tag", metavar="TAG")
    parser.add_argument("--notes", action="store_true")
    options = parser.parse_args()
    changelog = (TOP / "CHANGELOG.md").read_text()
    at = home(os.environ, git("remote", "get-url", "origin"))
    if options.check_tag is not None:
        found = faults(options.check_tag, changelog)
        print("\n".join(found), file=sys.stderr, end="\n" if found else "")
        return 1 if found else 0
    if options.notes:
        text = section(changelog, VERSION)
        print(outside(text[1], at) if text else "")
        return 0 if text else 1
    if at is None:
        print(
            "No REPOSITORY_URL and no origin at GitHub: built without links to a repository.", file=sys.stderr
        )
    build(options.output.resolve(), at)
    return 0


if __name__ == "__main__":
    sys.exit(main())
