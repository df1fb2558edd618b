"""What can be known here about the files that Render and Railway read.

Their schemas are not to be had offline: the members are compared with those that the two document
(render.com/docs/blueprint-spec, docs.railway.com/config-as-code/reference).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mosic.settings import Settings
from tests.rules.test_deploy_files import TOP, final_stage, image_environment, load, use

SERVICE = {
    *("type", "name", "runtime", "repo", "branch", "region", "plan", "numInstances", "envVars", "disk"),
    *("dockerfilePath", "dockerContext", "dockerCommand", "healthCheckPath", "preDeployCommand"),
    *("autoDeployTrigger", "maxShutdownDelaySeconds", "domains", "scaling", "buildFilter", "rootDir"),
}
DATABASE = {
    *("name", "databaseName", "user", "plan", "postgresMajorVersion", "region", "ipAllowList"),
    *("diskSizeGB", "readReplicas", "highAvailability", "previewPlan"),
}
RAILWAY_BUILD = {"builder", "dockerfilePath", "watchPatterns", "buildCommand"}
RAILWAY_DEPLOY = {
    *("startCommand", "preDeployCommand", "numReplicas", "multiRegionConfig", "healthcheckPath"),
    *("healthcheckTimeout", "restartPolicyType", "restartPolicyMaxRetries", "cronSchedule"),
    *("requiredMountPath", "overlapSeconds", "drainingSeconds", "sleepApplication", "region"),
}


@pytest.fixture
def render() -> Any:
    return load(TOP / "render.yaml")


@pytest.fixture
def railway() -> Any:
    return json.loads((TOP / "railway.json").read_text())


def test_render_has_members_that_are_documented(render: Any) -> None:
    assert set(render) == {"services", "databases"}
    for service in render["services"]:
        assert set(service) <= SERVICE
        assert {"type", "name", "runtime"} <= set(service)
        # It refuses both together.
        assert not {"disk", "maxShutdownDelaySeconds"} <= set(service)
        assert set(service["disk"]) == {"name", "mountPath", "sizeGB"}
        for variable in service["envVars"]:
            assert len(set(variable) & {"value", "generateValue", "fromDatabase", "fromService", "sync"}) == 1
            assert isinstance(variable.get("value", ""), str), "a number becomes another text in YAML"
    for database in render["databases"]:
        assert set(database) <= DATABASE


def test_render_fits_the_image(render: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (service,) = render["services"]
    assert (TOP / service["dockerfilePath"]).is_file()
    environment = image_environment()
    for variable in service["envVars"]:
        if "fromDatabase" in variable:
            source = variable["fromDatabase"]
            assert source["name"] in {database["name"] for database in render["databases"]}
            assert source["property"] == "connectionString"
            environment[variable["key"]] = "postgresql://mosic:p%40ss@dpg-abc-a/mosic"
        elif "fromService" in variable:
            # Of the variables that Render sets in every web service the one with its URL.
            source = variable["fromService"]
            assert (source["type"], source["name"]) == (service["type"], service["name"])
            assert source["envVarKey"] == "RENDER_EXTERNAL_URL"
            environment[variable["key"]] = "https://mosic.onrender.com"
        else:
            # Render makes 256 bits in base64.
            made = "9tC1+jT/qLkSgCyjSVdhQm3w0R5Wv4w5vN2d8yqBf3E="
            environment[variable["key"]] = variable.get("value", made)
    settings = use(monkeypatch, tmp_path, environment)
    url = settings.external_database
    assert url is not None
    assert (url.host, url.password) == ("dpg-abc-a", "p@ss")
    assert len(settings.given_keys) == 1
    assert str(settings.media_root) == service["disk"]["mountPath"]
    assert settings.host == "0.0.0.0"  # noqa: S104
    assert settings.shutdown_seconds + 10 < 30
    assert settings.public_url == "https://mosic.onrender.com"


def test_railway_has_members_that_are_documented(railway: Any) -> None:
    assert set(railway) == {"$schema", "build", "deploy"}
    assert set(railway["build"]) <= RAILWAY_BUILD
    assert set(railway["deploy"]) <= RAILWAY_DEPLOY
    assert railway["build"]["builder"] == "DOCKERFILE"
    assert railway["deploy"]["restartPolicyType"] in ("ON_FAILURE", "ALWAYS", "NEVER")
    for name in ("healthcheckTimeout", "drainingSeconds", "numReplicas", "restartPolicyMaxRetries"):
        assert isinstance(railway["deploy"][name], int)
    defaults = Settings()
    assert railway["deploy"]["drainingSeconds"] > defaults.shutdown_seconds + 10


def test_railway_fits_the_image(railway: Any) -> None:
    assert (TOP / railway["build"]["dockerfilePath"]).is_file()
    assert railway["deploy"]["requiredMountPath"] == image_environment()["MOSIC_MEDIA_ROOT"]
    assert json.loads(dict(final_stage())["ENTRYPOINT"]) == ["mosic"]


def test_railway_starts_on_the_port_that_it_gives(railway: Any, tmp_path: Path) -> None:
    """Its start command takes the place of the entrypoint, and is run without a shell."""
    asked = tmp_path / "mosic"
    asked.write_text('#!/bin/sh\necho "$@"\necho "$MOSIC_PUBLIC_URL" >&2\n')
    asked.chmod(0o755)
    path = os.pathsep.join((str(tmp_path), os.environ.get("PATH", os.defpath)))
    domain = {"RAILWAY_PUBLIC_DOMAIN": "mosic.up.railway.app"}
    own = {**domain, "MOSIC_PUBLIC_URL": "https://music.example"}
    for given, url in (
        ({}, ""),
        (domain, "https://mosic.up.railway.app"),
        (own, "https://music.example"),
    ):
        run = subprocess.run(
            shlex.split(railway["deploy"]["startCommand"]),
            env={"PATH": path, "PORT": "4711", **given},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (run.stdout, run.stderr) == ("serve --port 4711\n", f"{url}\n")
