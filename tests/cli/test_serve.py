"""`mosic` as a person runs it: real processes, the embedded PostgreSQL, signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import httpx
import pytest

from tests.support.house import MOSIC
from tests.support.installation import Installation
from tests.support.processes import wait_until_gone
from tests.support.programs import needs
from tests.support.sounds import wav

SLOW = pytest.mark.slow


@needs("curl")
def test_first_start_upload_stop_and_start_again(installation: Installation) -> None:
    served = installation.serve()
    url = served.url()
    assert url.startswith("http://localhost:")
    key_file = installation.folder / "data/api_key"
    assert key_file.read_text().strip() == served.key()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    postgres = installation.postgres_pid()

    # The very line that was printed, as a person would paste it.
    (installation.folder / "song.mp3").write_bytes(wav())
    pasted = subprocess.run(
        served.upload_line() + " -sS -i",
        shell=True,
        cwd=installation.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert pasted.stdout.startswith("HTTP/1.1 201")
    clip = json.loads(pasted.stdout.splitlines()[-1])
    assert httpx.get(clip["stream_url"], timeout=60).content == wav()

    assert served.stop() == 0
    wait_until_gone(postgres)

    again = installation.serve()
    url = again.url()
    assert again.key() == served.key()
    found_again = httpx.get(f"{url}/play", timeout=60).json()
    assert [one["id"] for one in found_again] == [clip["id"]]
    assert found_again[0]["play_count"] == 1
    assert again.stop(signal.SIGTERM) == 0


@pytest.mark.slow
@needs("curl")
def test_the_line_to_paste_works_in_any_folder_and_where_they_have_spaces(installation: Installation) -> None:
    below_home = {"HOME": str(installation.folder), "MOSIC_DATA_DIR": "my data"}
    served = installation.serve(**below_home)
    served.url()
    elsewhere = installation.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "song.mp3").write_bytes(wav())
    assert str(installation.folder) not in served.upload_line()
    pasted = subprocess.run(
        served.upload_line() + " -sS -i",
        shell=True,
        cwd=elsewhere,
        env=installation.environment(**below_home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert pasted.stdout.startswith("HTTP/1.1 201")
    assert served.stop() == 0


def test_kill_9_of_the_service_stops_nothing(installation: Installation) -> None:
    served = installation.serve()
    clip = httpx.post(
        f"{served.url()}/play/upload",
        content=wav(),
        headers={"X-API-Key": served.key()},
        timeout=60,
    ).json()
    played = httpx.get(f"{served.url()}/play/{clip['id']}/stream", timeout=60)
    assert played.status_code == 200
    orphan = installation.postgres_pid()
    os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()

    again = installation.serve()
    stats = httpx.get(f"{again.url()}/play/{clip['id']}/stats", timeout=60).json()
    assert stats["play_count"] == 1
    assert installation.postgres_pid() == orphan
    again.stop()
    wait_until_gone(orphan)


@pytest.mark.slow
def test_kill_9_of_postgres_and_service(installation: Installation) -> None:
    served = installation.serve()
    served.url()
    os.kill(installation.postgres_pid(), signal.SIGKILL)
    os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()
    again = installation.serve()
    assert httpx.get(f"{again.url()}/ready", timeout=60).status_code == 200
    assert again.stop() == 0


@pytest.mark.slow
def test_workers_share_one_database(installation: Installation) -> None:
    served = installation.serve("--workers", "2")
    url, key = served.url(), served.key()
    for _ in range(300):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready", timeout=60).status_code == 200:
                break
        time.sleep(0.05)
    for seed in range(4):
        answer = httpx.post(
            f"{url}/play/upload", content=wav(seed=seed), headers={"X-API-Key": key}, timeout=60
        )
        assert answer.status_code == 201
    assert all(len(httpx.get(f"{url}/play", timeout=60).json()) == 4 for _ in range(8))
    postgres = installation.postgres_pid()
    served.stop()
    wait_until_gone(postgres)


UNREACHABLE = {"MOSIC_DB_HOST": "127.0.0.1", "MOSIC_DB_PORT": "1", "MOSIC_DB_PASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MOSIC_APP_PORT": "http"}, "MOSIC_APP_PORT"),
        pytest.param({"MOSIC_MAX_UPLOAD_MB": "-1"}, "MOSIC_MAX_UPLOAD_MB", marks=SLOW),
        pytest.param({"MOSIC_REMOTE_STREAM": "maybe"}, "MOSIC_REMOTE_STREAM", marks=SLOW),
        pytest.param(
            {"MOSIC_DATABASE_URL_OVERRIDE": "mysql://x/y"}, "MOSIC_DATABASE_URL_OVERRIDE", marks=SLOW
        ),
        pytest.param({"MOSIC_STORE_URL": "ftp://x"}, "MOSIC_STORE_URL", marks=SLOW),
        pytest.param({"MOSIC_MEDIA_ROOT": "/proc/media"}, "MOSIC_MEDIA_ROOT", marks=SLOW),
        pytest.param({"MOSIC_DATA_DIR": "/proc/data"}, "MOSIC_DATA_DIR", marks=SLOW),
        pytest.param({"MOSIC_POSTGRES_BIN": "/nowhere"}, "MOSIC_POSTGRES_BIN", marks=SLOW),
        (UNREACHABLE, "cannot be used"),
    ],
)
def test_wrong_setting_is_a_sentence_that_names_it(
    installation: Installation, settings: dict[str, str], message: str
) -> None:
    ended = installation.run("serve", **settings)
    assert ended.returncode != 0
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize("form", [pytest.param("json", marks=SLOW), "console"])
def test_a_port_in_use_is_said_before_anything_is_made(installation: Installation, form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = installation.run("serve", MOSIC_PORT=str(port), MOSIC_APP_PORT="", MOSIC_LOG_FORMAT=form)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    if form == "json":
        assert [json.loads(line)["event"] for line in ended.stderr.splitlines()][-1].startswith(
            "MOSIC_APP_PORT: "
        )
    else:
        assert said.startswith(f"mosic: MOSIC_APP_PORT: port {port} of 127.0.0.1 is in use")
    assert [path.name for path in installation.folder.iterdir()] == [".env"]


@pytest.mark.parametrize(
    "wrong", [{"MOSIC_APP_PORT": "http"}, pytest.param({"MOSIC_HOST": "nowhere.invalid"}, marks=SLOW)]
)
def test_json_logs_are_json_when_the_settings_are_wrong(
    installation: Installation, wrong: dict[str, str]
) -> None:
    ended = installation.run("serve", MOSIC_LOG_FORMAT="json", **wrong)
    (name,) = wrong
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert (ended.returncode, name in events[-1]) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_both_ip_versions(installation: Installation, workers: str) -> None:
    served = installation.serve("--workers", workers, MOSIC_HOST="::")
    port = served.url().rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{port}/health", timeout=60).status_code == 200
    assert served.stop(signal.SIGTERM) == 0


@pytest.mark.slow
def test_reload_serves_as_well(installation: Installation) -> None:
    served = installation.serve("--reload")
    url = served.url()
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(f"{url}/health", timeout=60).status_code == 200
            break
        assert time.monotonic() < deadline, served.log()
        time.sleep(0.1)
    assert served.stop() == 0


def test_version() -> None:
    shown = subprocess.run([*MOSIC, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"mosic \d+\.\d+\.\d+\n", shown)
