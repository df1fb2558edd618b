"""What a running service writes: lines in one form, one for each request, and nothing that is a secret."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.house import MOSIC
from tests.support.installation import Installation, Served
from tests.support.programs import needs
from tests.support.sounds import wav

KEY = 'k3y-with-"quotes"\\and-more'
OTHER_KEY = "s3cond-k3y"
PASSWORD = "p4ssw0rd-of-the-database"
TOKEN = "t0ken-in-a-signed-address"
SIGNATURE = "s1gnature-of-an-address"
# As Mosic makes them.
LIKE_A_KEY = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx"
HOME = "/nobody-must-know-that-this-is-anna"


class Failing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def home(short_tmp: Path) -> Iterator[Installation]:
    """Somebody runs it at home, and everything is kept there."""
    folder = short_tmp / f"home{HOME}-{os.urandom(4).hex()}".replace("home/", "home-")
    folder.mkdir()
    made = Installation(folder)
    yield made
    made.end()


def use(served: Served, folder: Path, failing: str) -> list[httpx.Response]:
    """All that clients do, and what they should not do."""
    url = served.url()
    parts = urlsplit(url)
    with httpx.Client(base_url=url, timeout=60) as http:
        http.headers["X-API-Key"] = KEY
        answers = [
            http.post("/play/upload", content=wav(), headers={"X-Request-ID": "of-the-proxy"}),
            http.post("/play/upload", content=b"no sound at all"),
            http.post("/play/upload", files={"other": b"x"}),
            http.post("/play/upload", content=wav(), headers={"X-API-Key": OTHER_KEY + "-wrong"}),
            http.post("/play/uploads", headers={"Tus-Resumable": "1.0.0"}),
            http.patch("/play/uploads/x", headers={"Tus-Resumable": "1.0.0"}),
            http.get("/nothing/here"),
            http.get("/play?limit=x"),
            http.get("/metrics"),
            http.get("/ready"),
        ]
        clip = answers[0].json()
        stream = f"/play/{clip['id']}/stream"
        answers += [
            http.get(stream),
            http.get(stream, headers={"Range": "bytes=99999999-"}),
            http.get(f"{stream}?expires=1&signature={SIGNATURE}"),
            # An address that was encoded once too often, twice, or put together wrongly; a key in its place.
            http.get(f"{stream}%3Fexpires%3D1%26signature%3D{SIGNATURE}"),
            http.get(f"{stream}%253Fexpires=1&signature={SIGNATURE}"),
            http.get(f"{stream}&expires=1&signature={SIGNATURE}"),
            http.get(f"/play/{quote(KEY)}"),
            http.get(f"/{LIKE_A_KEY}/play/{LIKE_A_KEY}/stream"),
            http.patch(f"/play/{clip['id']}", json={"title": 7}),
        ]
        remote = {"title": "R", "audio_url": f"{failing}/a.mp3?token={TOKEN}"}
        external = http.post("/play", json=remote).json()
        answers.append(http.get(f"/play/{external['id']}/stream"))
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as raw:
            raw.sendall(f"GARBAGE\r\nX-API-Key: {OTHER_KEY}\r\n\r\n".encode())
            raw.recv(4096)
        # The store fails: what is logged then has paths.
        for blob in folder.glob("media/blobs/*/*"):
            blob.unlink()
            blob.mkdir()
        answers += [http.get(stream), http.delete(f"/play/{clip['id']}")]
    return answers


SETTINGS = {
    "MOSIC_TRASH_DAYS": "0",  # where the store fails, a clip goes to the trash all the same
    "MOSIC_LOG_LEVEL": "debug",
    "MOSIC_ECHO_SQL": "true",
    "MOSIC_REMOTE_ALLOW_PRIVATE": "true",
    "MOSIC_API_KEY": KEY,
}


@pytest.mark.parametrize(
    ("form", "workers", "database"),
    [
        pytest.param("json", "1", "its own", marks=pytest.mark.slow),
        ("console", "1", "another"),
        pytest.param("json", "2", "another", marks=pytest.mark.slow),
    ],
)
def test_nothing_that_is_a_secret(
    home: Installation, failing: str, own_database_url: URL, form: str, workers: str, database: str
) -> None:
    settings = SETTINGS | {"MOSIC_LOG_FORMAT": form, "MOSIC_WORKERS": workers, "HOME": str(home.folder)}
    if database == "another":
        # The server of the tests trusts everybody.
        url = shown(own_database_url.set(password=PASSWORD))
        url = url.replace(f"{own_database_url.username}@", f"{own_database_url.username}:{PASSWORD}@")
        settings["MOSIC_DATABASE_URL_OVERRIDE"] = url
    served = home.serve(**settings)
    answers = use(served, home.folder, failing)
    assert {200, 201, 206, 401, 404, 416, 422, 502} & {answer.status_code for answer in answers} >= {
        201,
        401,
        416,
        502,
    }
    assert served.stop(signal.SIGTERM) == 0
    log = served.log()
    assert "shutdown" in log
    for secret in (KEY, json.dumps(KEY)[1:-1], quote(KEY), OTHER_KEY, PASSWORD, TOKEN, SIGNATURE, LIKE_A_KEY):
        assert secret not in log
        assert not any(secret in answer.text for answer in answers if "audio_url" not in answer.text)
    assert HOME[1:] not in log
    assert not any(HOME[1:] in answer.text for answer in answers)


@pytest.mark.slow
@needs("curl")
def test_made_key_is_not_in_the_log(home: Installation) -> None:
    served = home.serve(HOME=str(home.folder), MOSIC_LOG_LEVEL="debug")
    url = served.url()
    key = (home.folder / "data/api_key").read_text().strip()
    (home.folder / "song.mp3").write_bytes(wav())
    pasted = subprocess.run(
        served.upload_line() + " -sS -i",
        shell=True,
        cwd=home.folder,
        env=os.environ | {"HOME": str(home.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert pasted.stdout.startswith("HTTP/1.1 201"), served.upload_line()
    assert httpx.get(f"{url}/play", timeout=60).status_code == 200
    served.stop()
    assert key not in served.log()
    assert str(home.folder) not in served.log()


@pytest.mark.slow
def test_wrong_setting_is_told_without_the_home(home: Installation) -> None:
    ended = home.run("serve", HOME=str(home.folder), MOSIC_POSTGRES_BIN=str(home.folder / "nowhere"))
    assert ended.returncode
    assert "MOSIC_POSTGRES_BIN" in ended.stderr
    assert HOME[1:] not in ended.stderr


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_every_line_is_json_and_each_request_has_one(home: Installation, failing: str, workers: str) -> None:
    served = home.serve(**SETTINGS | {"MOSIC_LOG_FORMAT": "json", "MOSIC_WORKERS": workers})
    answers = use(served, home.folder, failing)
    served.stop()
    entries = [json.loads(line) for line in served.log().splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= entry.keys() for entry in entries)
    # uvicorn's own lines are among them at this level, with their arguments filled in.
    (first, *_) = [entry["event"] for entry in entries if "Started server process" in entry["event"]]
    assert re.fullmatch(r"Started server process \[\d+\]", first)
    # One message says that it serves, and where everything is.
    (started,) = [entry for entry in entries if "listens on" in entry["event"]]
    assert started["logger"] == "mosic"
    assert started["media"] == str(home.folder / "media")
    assert str(answers[0].request.url).startswith(f"{started['url']}/play")
    assert str(home.folder / "data") in started["database"]
    assert [entry["event"] for entry in entries].count("a new, empty service") >= 1
    requests: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry["event"] == "request":
            requests.setdefault(entry["request_id"], []).append(entry)
    assert answers[0].headers["x-request-id"] == "of-the-proxy"
    for answer in answers:
        (entry,) = requests[answer.headers["x-request-id"]]
        assert entry["method"] == answer.request.method
        assert entry["status"] == answer.status_code
        assert entry["sent"] == len(answer.content)
        assert 0 <= entry["seconds"] < 60
        assert entry["address"] == "127.0.0.1"
        assert answer.request.url.raw_path.decode().startswith(entry["path"].partition("…")[0])
        watched = entry["route"] in ("/metrics", "/ready")
        assert entry["level"] == ("debug" if watched else "info")
        assert entry["route"] == "unmatched" or entry["route"].startswith(("/play", "/metrics", "/ready"))
    clip = answers[0].json()["id"]
    assert [entry.get("clip_id") for entry in requests["of-the-proxy"]] == [clip]
    of_clip = [answer for answer in answers if f"/{clip}" in answer.request.url.path.removesuffix("/stream")]
    for answer in of_clip:
        (entry,) = requests[answer.headers["x-request-id"]]
        assert entry.get("clip_id", clip if entry["route"] == "unmatched" else None) == clip
    # What went wrong inside has the id of the request that it went wrong in.
    failed = [answer for answer in answers if answer.status_code == 500]
    causes = {entry["request_id"] for entry in entries if entry["level"] == "error" and "request_id" in entry}
    assert failed
    assert {answer.headers["x-request-id"] for answer in failed} == causes


@pytest.mark.slow
def test_level(home: Installation, failing: str) -> None:
    quiet = {"MOSIC_LOG_LEVEL": "error", "MOSIC_ECHO_SQL": "false"}
    served = home.serve(**SETTINGS | quiet | {"MOSIC_LOG_FORMAT": "console"})
    use(served, home.folder, failing)
    served.stop()
    levels = set(re.findall(r"\[(debug|info|warning|error|critical) *\]", served.log()))
    assert levels <= {"error", "critical"}


@pytest.mark.slow
def test_readable_on_a_terminal(home: Installation) -> None:
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MOSIC, "serve"], cwd=home.folder, env=home.environment(TERM="xterm"), stderr=theirs
    )
    home.running.append(process)
    os.close(theirs)
    seen = b""
    while b"List:" not in seen:
        seen += os.read(mine, 4096)
    process.send_signal(signal.SIGTERM)
    try:
        while chunk := os.read(mine, 4096):
            seen += chunk
    except OSError:  # how a terminal says that nobody holds its other end
        pass
    os.close(mine)
    assert process.wait(60) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()
    assert any(re.search(r"\[info +\] a new, empty service", line) for line in lines)
    assert not any("uvicorn" in line.lower() for line in lines)
    (start, *_) = [line for line in lines if "listens on" in line]
    assert start.startswith("Mosic listens on http://localhost:")
    assert f"Media:    {home.folder}/media" in lines
    assert f"Database: embedded PostgreSQL in {home.folder}/data/postgres" in lines
    assert not any(line.startswith("{") for line in lines)
    # A person gets a line to paste that needs nothing else.
    key = (home.folder / "data/api_key").read_text().strip()
    assert any(f'-H "X-API-Key: {key}"' in line for line in lines)
