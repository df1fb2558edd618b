"""What a release consists of: the wheel has all that an installed mosic needs, and reads well elsewhere."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from html.parser import HTMLParser
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mosic import __version__

TOP = Path(__file__).resolve().parents[2]
POETRY = TOP / ".poetry/bin/poetry"
HOME = "https://git.example/people/mosic"
needs_poetry = pytest.mark.skipif(
    not POETRY.exists(), reason="needs Poetry (scripts/bootstrap puts it into .poetry/)"
)


def build(folder: Path) -> Path:
    command = [str(TOP / "scripts/package.py"), "--output", str(folder)]
    environment = os.environ | {"REPOSITORY_URL": f"{HOME}/"}
    subprocess.run(command, check=True, env=environment, cwd=folder.parent)
    return folder


@pytest.fixture(scope="module")
def package() -> ModuleType:
    spec = importlib.util.spec_from_file_location("package", TOP / "scripts/package.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "dist")


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_string(wheel.read(f"mosic-{__version__}.dist-info/METADATA").decode())


@needs_poetry
def test_wheel_carries_the_migrations_the_pages_and_the_types(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    versions = {
        f"mosic/migrations/versions/{path.name}" for path in (TOP / "migrations/versions").glob("*.py")
    }
    assert versions
    assert names >= {
        "mosic/migrations/env.py",
        "mosic/migrations/script.py.mako",
        "mosic/errors/remedies.toml",
        "mosic/py.typed",
        *(f"mosic/web/pages/{path}" for path in _pages()),
        *versions,
    }
    assert {name.partition("/")[0] for name in names} == {"mosic", f"mosic-{__version__}.dist-info"}


def _pages() -> list[str]:
    folder = TOP / "src/mosic/web/pages"
    found = [str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.suffix != ".pyc"]
    assert {"docs.html", "favicon.ico", "redoc.html", "vendor/packages.json", "vendor/redoc.LICENSE"} <= set(
        found
    )
    return found


@needs_poetry
def test_source_archive_has_the_same(built: Path, wheel: zipfile.ZipFile) -> None:
    with tarfile.open(built / f"mosic-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    places = {"mosic/migrations/": "migrations/", "mosic/": "src/mosic/"}
    for name in wheel.namelist():
        for place, source in places.items():
            if name.startswith(place):
                assert name.replace(place, source, 1) in names
                break
    assert {"README.md", "LICENSE", "pyproject.toml"} <= names


@needs_poetry
def test_metadata_say_what_it_is_and_where_it_lives(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11,<4"
    assert metadata["Keywords"]
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL") or ())
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Source", "Issues"}
    assert all(url == HOME or url.startswith(f"{HOME}/") for url in urls.values())


@needs_poetry
def test_readme_of_the_wheel_leads_to_this_version_on_the_web(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    there = links_of(str(metadata.get_payload()))
    here = links_of((TOP / "README.md").read_text())
    assert len(there) == len(here)
    for (kind, before), (_, after) in zip(here, there, strict=True):
        if before.startswith(("#", "http://", "https://", "mailto:")):
            assert after == before
        else:
            assert after == f"{HOME}/{'raw' if kind == 'src' else 'blob'}/v{__version__}/{before}"


def links_of(markdown: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("href", "src", "srcset") and value:
                    found.append(("href" if name == "href" else "src", value))

    Links().feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    return found


@pytest.mark.parametrize(
    ("inside", "elsewhere"),
    [
        ("See [a](docs/a.md#x).", "See [a](U/blob/v1/docs/a.md#x)."),
        ("[`code`](docs/a.md), `[b](c)`", "[`code`](U/blob/v1/docs/a.md), `[b](c)`"),
        ("![p](docs/p.png)", "![p](U/raw/v1/docs/p.png)"),
        ("[![p](docs/p.svg)](docs/a.md)", "[![p](U/raw/v1/docs/p.svg)](U/blob/v1/docs/a.md)"),
        ('<img alt="p" src="./p.png">', '<img alt="p" src="U/raw/v1/p.png">'),
        (
            '<source srcset="d.svg"><a href="docs/">',
            '<source srcset="U/raw/v1/d.svg"><a href="U/blob/v1/docs/">',
        ),
        ("[a](#here) [b](https://b.example/c) [m](mailto:a@b.example)", None),
        ("```sh\n[a](b) src\n```", None),
    ],
)
def test_links_elsewhere(package: ModuleType, inside: str, elsewhere: str | None) -> None:
    assert package.outside(inside, "U", "1") == (elsewhere or inside)
    # Where nobody knows where the repository is on the web, no link leads nowhere.
    for _, place in links_of(package.outside(inside, None)):
        assert place.startswith(("#", "https://", "mailto:"))


@pytest.mark.parametrize(
    ("environment", "remote", "home"),
    [
        ({}, "", None),
        ({}, "/srv/git/mosic", None),
        ({}, "git@git.internal:mosic.git", None),
        ({}, "git@github.com:a/mosic.git", "https://github.com/a/mosic"),
        ({}, "ssh://git@github.com/a/mosic", "https://github.com/a/mosic"),
        ({}, "https://user:secret@github.com/a/mosic.git", "https://github.com/a/mosic"),
        (
            {"GITHUB_SERVER_URL": "https://ghe.example", "GITHUB_REPOSITORY": "b/m"},
            "",
            "https://ghe.example/b/m",
        ),
        ({"REPOSITORY_URL": "https://git.example/m/"}, "git@github.com:a/mosic.git", "https://git.example/m"),
    ],
)
def test_where_it_lives(
    package: ModuleType, environment: dict[str, str], remote: str, home: str | None
) -> None:
    assert package.home(environment, remote) == home


@needs_poetry
def test_the_same_commit_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    assert digests(build(tmp_path / "again")) == digests(built)


def test_constraints_are_what_is_locked_for_running(package: ModuleType) -> None:
    """Compared with what is installed here, from the same lock, and with what each package there asks for."""
    lines = package.constraints().splitlines()
    assert not any("://" in line or "--index" in line for line in lines)
    pinned: dict[str, tuple[str, Marker | None]] = {}
    for line in lines[1:]:
        found = Requirement(line)
        (pin,) = found.specifier
        assert pin.operator == "=="
        assert "extra" not in str(found.marker or "")
        if found.marker and not found.marker.evaluate():
            continue
        assert canonicalize_name(found.name) not in pinned
        pinned[canonicalize_name(found.name)] = (pin.version, found.marker)
    needed: dict[str, str] = {}
    waiting = [("mosic", frozenset({"pictures", "sound"}))]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or ():
            one = Requirement(text)
            if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                continue
            other = canonicalize_name(one.name)
            if other not in needed or one.extras:
                needed[other] = distribution(other).version
                waiting.append((other, frozenset(one.extras)))
    assert {name: pinned[name][0] for name in needed} == needed
    # Whatever else is pinned is for other systems.
    for name in pinned.keys() - needed.keys():
        marker = pinned[name][1]
        assert marker is not None, name
        assert not marker.evaluate(), name


def test_changelog_has_this_version_and_a_tag_has_to_fit(package: ModuleType) -> None:
    changelog = (TOP / "CHANGELOG.md").read_text()
    date, text = package.section(changelog, __version__)
    assert date >= "2026-11-29"
    assert "### " in text
    released = f"## [Unreleased]\n\n## [{__version__}] - 2026-11-29\n\n### Added\n\n- a\n"
    assert package.faults(f"v{__version__}", released) == []
    assert package.section(released, __version__) == ("2026-11-29", "### Added\n\n- a")
    assert "The tag is v9.9.9" in package.faults("v9.9.9", released)[0]
    assert package.faults(__version__, released)
    assert "no «## [" in package.faults(f"v{__version__}", "## [Unreleased]\n")[0]
    left = released.replace("[Unreleased]\n", "[Unreleased]\n\n### Fixed\n\n- b\n")
    assert "Unreleased" in package.faults(f"v{__version__}", left)[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # it installs everything anew
@needs_poetry
def test_wheel_with_its_constraints_serves_far_from_the_checkout(built: Path) -> None:
    (path,) = built.glob("*.whl")
    run = subprocess.run(
        [TOP / "scripts/try-wheel", path, built / "constraints.txt"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("MOSIC_")},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"The wheel works: {path.name}" in run.stdout
