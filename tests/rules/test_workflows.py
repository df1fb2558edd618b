"""What can be known about the workflows without GitHub, and about the shell scripts that they run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rules.test_deploy_files import CHECK_JSONSCHEMA, TOP, load
from tests.support.programs import PACKAGES, needs

WORKFLOWS = {path.name: load(path) for path in sorted(TOP.glob(".github/workflows/*.yml"))}
SCRIPTS = [
    path
    for path in (TOP / ".ci/run", *(TOP / "scripts").iterdir())
    if path.is_file() and re.match(rb"#!/bin/(ba)?sh\n", path.read_bytes())
]


def jobs() -> Iterator[tuple[str, str, Any]]:
    for file, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            yield file, name, job


def steps() -> Iterator[tuple[str, Any]]:
    for file, name, job in jobs():
        yield from ((f"{file}:{name}", step) for step in job.get("steps", ()))


def triggers(file: str) -> Any:
    return WORKFLOWS[file][True]  # YAML reads the key `on` as a truth value


def needed_by(file: str, name: str) -> set[str]:
    """All jobs that have to succeed before this one."""
    needed = WORKFLOWS[file]["jobs"][name].get("needs", [])
    direct = {needed} if isinstance(needed, str) else set(needed)
    return direct.union(*(needed_by(file, other) for other in direct))


@pytest.mark.skipif(CHECK_JSONSCHEMA is None, reason="needs check-jsonschema")
def test_they_follow_the_published_schema() -> None:
    paths = [str(TOP / ".github/workflows" / name) for name in WORKFLOWS]
    command = [str(CHECK_JSONSCHEMA), "--builtin-schema", "vendor.github-workflows", *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_they_call_targets_and_scripts_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (TOP / "Makefile").read_text(), re.M))
    called = {word for _, step in steps() for word in re.findall(r"\bmake (\w+)", step.get("run", ""))}
    assert {"check", "wheel", "docs"} <= called <= targets
    scripts = {word for _, step in steps() for word in re.findall(r"\bscripts/[\w.-]+", step.get("run", ""))}
    assert {"scripts/try-wheel", "scripts/try-image", "scripts/package.py"} <= scripts
    for script in scripts:
        assert os.access(TOP / script, os.X_OK), script


def test_every_action_has_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for _, step in steps():
        if "uses" in step:
            name, _, version = step["uses"].partition("@")
            versions.setdefault(name, set()).add(version)
    assert versions
    for name, found in versions.items():
        assert len(found) == 1, f"{name}: {found}"
        (version,) = found
        assert re.fullmatch(r"v\d+|[0-9a-f]{40}", version), f"{name}: {version}"


def test_they_may_only_what_they_need_and_end_by_themselves() -> None:
    assert all(workflow["permissions"] == {"contents": "read"} for workflow in WORKFLOWS.values())
    for file, name, job in jobs():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 60, f"{file}:{name}"
    for place, step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, place
        # What somebody else may have written reaches a shell as a variable, never as a part of the script.
        assert "${{" not in step.get("run", ""), place


def test_called_workflows_can_be_called_and_get_what_their_jobs_need() -> None:
    called = [(file, name, job) for file, name, job in jobs() if "uses" in job]
    assert {job["uses"] for _, _, job in called} == {
        "./.github/workflows/ci.yml",
        "./.github/workflows/image.yml",
    }
    for file, name, job in called:
        other = Path(job["uses"]).name
        inputs = (triggers(other)["workflow_call"] or {}).get("inputs", {})
        assert set(job.get("with", ())) >= {key for key, one in inputs.items() if one.get("required")}
        given = job.get("permissions", WORKFLOWS[file]["permissions"])
        for asking in WORKFLOWS[other]["jobs"].values():
            for scope, level in asking.get("permissions", {}).items():
                assert given.get(scope) in (level, "write"), f"{file}:{name} does not give {scope}"


def test_nothing_is_published_that_was_not_proved() -> None:
    assert triggers("release.yml") == {"push": {"tags": ["v*"]}}
    release = WORKFLOWS["release.yml"]["jobs"]
    assert release["proof"]["uses"].endswith("/ci.yml")
    writing = {name for name, job in release.items() if "write" in job.get("permissions", {}).values()}
    assert writing == {"packages", "image", "publish"}
    for name in writing:
        assert {"fits", "proof"} <= needed_by("release.yml", name), name
    assert needed_by("release.yml", "publish") == set(release) - {"publish"}


def test_an_image_is_pushed_after_it_has_run() -> None:
    build = WORKFLOWS["image.yml"]["jobs"]["build"]
    platforms = {machine["platform"] for machine in build["strategy"]["matrix"]["machine"]}
    assert platforms == {"linux/amd64", "linux/arm64"}
    order = [step.get("run", "") or step.get("with", {}).get("outputs", "") for step in build["steps"]]
    (tried,) = (number for number, text in enumerate(order) if "scripts/try-image" in text)
    (pushed,) = (number for number, text in enumerate(order) if "push=true" in text)
    assert tried < pushed
    assert needed_by("image.yml", "publish") == {"build"}


@needs("shellcheck")
def test_shellcheck_has_no_complaint() -> None:
    texts = [(place, "bash", step["run"]) for place, step in steps() if "run" in step]
    for place, shell, text in [*texts, *((path.name, "", path.read_text()) for path in SCRIPTS)]:
        command = ["shellcheck", *([f"--shell={shell}"] if shell else []), "-"]
        run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{place}:\n{run.stdout}"


def test_shell_scripts_are_found() -> None:
    assert {"bootstrap", "try-wheel", "try-image", "poetry", "run"} <= {path.name for path in SCRIPTS}


def test_the_proof_installs_what_tests_need() -> None:
    named = set(re.findall(r"[\w.+-]+", (TOP / ".ci/run").read_text()))
    assert set(PACKAGES.values()) - named == set()
