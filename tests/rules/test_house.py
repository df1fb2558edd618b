"""The rules of the house, kept by reading the source."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SOURCE = TOP / "src"
MODULES = sorted(SOURCE.rglob("*.py"))

# From the ground up. A module imports from lower floors, and on its own floor only what SIBLINGS allows.
FLOORS = (
    ("mosic.errors", "mosic.wire", "mosic.words"),
    ("mosic.settings", "mosic.metrics", "mosic.logs", "mosic.logstream", "mosic.disk", "mosic.background"),
    (
        "mosic.archive",
        "mosic.audio",
        "mosic.demo",
        "mosic.client",
        "mosic.staging",
        "mosic.blobs",
        "mosic.db",
        "mosic.postgres",
        "mosic.remote",
        "mosic.keys",
    ),
    ("mosic.core",),
    ("mosic.boot", "mosic.server"),
    ("mosic.web", "mosic.cli"),
    ("mosic.__main__",),
)
# room → rooms on the same floor that it may use
SIBLINGS = {
    "mosic.wire": {"mosic.errors"},
    "mosic.logs": {"mosic.settings", "mosic.logstream"},
    "mosic.metrics": {"mosic.disk"},
    # Its table of media types and file endings.
    "mosic.client": {"mosic.audio"},
}
# Inside core, use cases know the runtime; whatever else knows a sibling is named here.
CORE_SIBLINGS = {
    "mosic.core.runtime": {
        "mosic.core.facts",
        "mosic.core.uploads.watchdog",
        "mosic.core.plays",
        "mosic.core.top",
        "mosic.core.works.queue",
    },
    "mosic.core.played": {"mosic.core.runtime", "mosic.core.top"},
    "mosic.core.facts": {"mosic.core.delivery"},
    "mosic.core.delivery": {"mosic.core.plays"},
    "mosic.core.responding": {"mosic.core.delivery"},
    "mosic.core.waveform": {"mosic.core.runtime", "mosic.core.delivery", "mosic.core.responding"},
    "mosic.core.stream": {
        "mosic.core.runtime",
        "mosic.core.facts",
        "mosic.core.delivery",
        "mosic.core.responding",
    },
    "mosic.core.uploads.claim": {
        "mosic.core.runtime",
        "mosic.core.uploads.quotas",
        "mosic.core.uploads.state",
    },
    "mosic.core.changing": {"mosic.core.runtime"},
    "mosic.core.trash": {"mosic.core.runtime", "mosic.core.changing"},
    "mosic.core.ownids": {"mosic.core.runtime"},
    "mosic.core.uploads.state": {"mosic.core.runtime", "mosic.core.ownids"},
    "mosic.core.catalog": {
        "mosic.core.runtime",
        "mosic.core.changing",
        "mosic.core.ownids",
        "mosic.core.trash",
    },
    "mosic.core.ingest": {
        "mosic.core.runtime",
        "mosic.core.bytes",
        "mosic.core.changing",
        "mosic.core.ownids",
        "mosic.core.trash",
    },
    "mosic.core.replace": {
        "mosic.core.runtime",
        "mosic.core.bytes",
        "mosic.core.changing",
        "mosic.core.ingest",
    },
    "mosic.core.uploads.finish": {
        "mosic.core.runtime",
        "mosic.core.ingest",
        "mosic.core.uploads.state",
    },
    "mosic.core.uploads.append": {
        "mosic.core.runtime",
        "mosic.core.uploads.claim",
        "mosic.core.uploads.finish",
        "mosic.core.uploads.state",
    },
    "mosic.core.uploads.unfinished": {
        "mosic.core.runtime",
        "mosic.core.ingest",
        "mosic.core.ownids",
        "mosic.core.uploads.append",
        "mosic.core.uploads.quotas",
        "mosic.core.uploads.state",
    },
    "mosic.core.uploads.leftovers": {"mosic.core.runtime", "mosic.core.uploads.append"},
    "mosic.core.sweep": {
        "mosic.core.runtime",
        "mosic.core.uploads.leftovers",
        "mosic.core.identity",
        "mosic.core.played",
        "mosic.core.trash",
    },
    "mosic.core.works.kinds": {"mosic.core.runtime"},
    "mosic.core.works.files": {"mosic.core.runtime"},
    "mosic.core.works.known": {
        "mosic.core.works.chapters",
        "mosic.core.works.kinds",
        "mosic.core.works.sound",
    },
    "mosic.core.works.chapters": {
        "mosic.core.runtime",
        "mosic.core.works.files",
        "mosic.core.works.kinds",
    },
    "mosic.core.works.sound": {
        "mosic.core.runtime",
        "mosic.core.changing",
        "mosic.core.works.files",
        "mosic.core.works.kinds",
    },
    "mosic.core.carried": {"mosic.core.runtime"},
    "mosic.core.works.attempt": {
        "mosic.core.runtime",
        "mosic.core.changing",
        "mosic.core.works.bounds",
        "mosic.core.works.kinds",
    },
    "mosic.core.works.running": {
        "mosic.core.runtime",
        "mosic.core.works.attempt",
        "mosic.core.works.bounds",
        "mosic.core.works.kinds",
    },
    "mosic.core.works.asking": {"mosic.core.runtime"},
    "mosic.core.health": {"mosic.core.runtime", "mosic.core.identity"},
    "mosic.core.backup": {"mosic.core.identity"},
    "mosic.core.restore": {"mosic.core.identity"},
}
ONLY = {
    "mutagen": ("mosic.audio.",),
    "av": ("mosic.audio.sound", "mosic.audio.loudness"),
    "numpy": ("mosic.audio.envelope", "mosic.audio.loudness"),
    "fastapi": ("mosic.web.",),
    "starlette": ("mosic.web.",),
    "python_multipart": ("mosic.wire.multipart",),
    "http_sf": ("mosic.wire.digest",),
    "aiohttp": ("mosic.remote", "mosic.client.service"),
    "sqlalchemy": (
        "mosic.db.",
        "mosic.boot",
        "mosic.core.runtime",
        "mosic.core.facts",
        "mosic.core.top",
        "mosic.core.uploads.watchdog",
        "mosic.core.backup",
        "mosic.core.restore",
        "mosic.core.identity",
        "mosic.settings",
        "mosic.postgres",
    ),
    "uvicorn": ("mosic.server.",),
    "httptools": ("mosic.server.",),
    "typer": ("mosic.cli.",),
    "prometheus_client": ("mosic.metrics",),
}
MAX_LINES = 300


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                inside = SOURCE.joinpath(*node.module.split("."), f"{alias.name}.py")
                yield f"{node.module}.{alias.name}" if inside.exists() else node.module


def room_of(module: str) -> tuple[int, str] | None:
    for height, rooms in enumerate(FLOORS):
        for room in rooms:
            if module == room or module.startswith(f"{room}."):
                return height, room
    return None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    module = name_of(path)
    mine = room_of(module)
    if mine is None:
        assert module in ("mosic",), f"{module} stands on no floor"
        return
    height, room = mine
    for imported in imports_of(path):
        if not imported.startswith("mosic"):
            continue
        other = room_of(imported)
        if other is None:
            assert imported == "mosic"
            continue
        other_height, other_room = other
        allowed = SIBLINGS.get(module, set()) | SIBLINGS.get(room, set()) | {room}
        assert other_height < height or other_room in allowed, f"{module} imports {imported}"
        if room == "mosic.core" and other_room == "mosic.core":
            assert imported in CORE_SIBLINGS.get(module, {"mosic.core.runtime"}), (
                f"{module} imports {imported}"
            )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    module = name_of(path)
    for imported in imports_of(path):
        rooms = ONLY.get(imported.partition(".")[0])
        if rooms is not None:
            assert f"{module}.".startswith(rooms) or module.startswith(rooms), f"{module} imports {imported}"


def test_no_await_below_the_first_floor() -> None:
    for path in (SOURCE / "mosic/wire").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), path


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


FILE_SYSTEM = re.compile(r"\b(os\.f(data)?sync|os\.statvfs|shutil\.disk_usage|flock)\(")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_disk_syncs_locks_and_measures(path: Path) -> None:
    """What a failure means, and what a file system may lack, is known there (`mosic.disk`)."""
    assert name_of(path) == "mosic.disk" or not FILE_SYSTEM.search(path.read_text())


def test_lock_names_no_index() -> None:
    """Whoever clones this may have another package index, and it may be nobody's business which."""
    lock = tomllib.loads((TOP / "poetry.lock").read_text())
    for package in lock["package"]:
        # Where another Poetry has locked: `scripts/poetry lock` takes them out.
        assert not re.search(r"://|\w\.(com|io|net|org)\b", package["description"]), package["name"]
        assert "source" not in package, package["name"]
        assert not any("url" in file for file in package["files"]), package["name"]
