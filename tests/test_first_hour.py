"""A stranger's first hour: a fresh clone, an empty home, and the commands of README.md as they stand."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.programs import needs
from tests.support.readme import TOP, commands


def _is_checkout() -> bool:
    if not (TOP / ".git").exists() or shutil.which("git") is None:
        return False
    return subprocess.run(["git", "log", "-1"], cwd=TOP, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    # It waits for a package index, and for machines of every speed.
    pytest.mark.timeout(3600),
    needs("git", "make", "curl"),
    pytest.mark.skipif(not _is_checkout(), reason="needs a checkout that git would clone"),
]

CLONE, RUN, *OTHERS = commands((TOP / "README.md").read_text())
_README_PORT = "8000"
# Whose absence would only show where packages come from, and not whether the README is right.
_WAYS_OUT = re.compile(r"PIP_.*|.*_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE", re.IGNORECASE)


@dataclass
class Stranger:
    """Somebody with a terminal. The port is one that is free here, for the service and in the commands."""

    folder: Path
    port: int

    @property
    def clone(self) -> Path:
        return self.folder / "mosic"

    @property
    def environment(self) -> dict[str, str]:
        ways_out = {name: value for name, value in os.environ.items() if _WAYS_OUT.fullmatch(name)}
        return ways_out | {
            "HOME": str(self.folder / "home"),
            "PATH": os.environ["PATH"],
            "MOSIC_PORT": str(self.port),
            "REPOSITORY_URL": str(TOP),
        }

    def here(self, command: str) -> str:
        return re.sub(rf"(?<=localhost:){_README_PORT}\b", str(self.port), command)

    def paste(self, *lines: str, into: str, within: Path) -> str:
        """What is said, each command before its words; the first that fails is the end of the test."""
        # So that curl tells of refusals, as a person sees them.
        (self.folder / ".curlrc").write_text("fail-with-body\n")
        run = subprocess.run(
            [into, "-ev"],
            input="\n".join(map(self.here, lines)) + "\n",
            cwd=within,
            env=self.environment | {"CURL_HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout
        return run.stdout

    def packages(self) -> set[str]:
        found = (self.clone / ".venv").glob("lib/python*/site-packages/*.dist-info")
        return {path.name.split("-")[0].lower().replace("_", "-") for path in found}


@pytest.fixture(scope="module")
def stranger(short_tmp: Path) -> Stranger:
    """With a clone, made as README.md says."""
    one = Stranger(short_tmp / f"stranger-{os.urandom(4).hex()}", _port())
    (one.folder / "home").mkdir(parents=True)
    one.paste(CLONE, into="sh", within=one.folder)
    return one


def _port() -> int:
    """Free now, and still so once all is installed: below those that systems give out by themselves."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Running:
    """`make run` in a first terminal."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_ready(self, url: str) -> None:
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if (
                    httpx.get(f"{url}/ready", timeout=60).status_code == 200
                    and "listens on" in self.log.read_text()
                ):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    def press_ctrl_c(self) -> None:
        """The terminal tells the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait()


def started(stranger: Stranger, command: str) -> Running:
    log = stranger.folder / "first-terminal.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=stranger.clone,
            env=stranger.environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return Running(process, log)


def test_the_commands_of_the_readme_in_order(stranger: Stranger) -> None:
    url = f"http://localhost:{stranger.port}"
    # What is not committed is not in a clone.
    assert commands((stranger.clone / "README.md").read_text()) == [CLONE, RUN, *OTHERS], "commit README.md"
    assert RUN == "make run"
    service = started(stranger, RUN)
    try:
        service.wait_until_ready(url)
        told = service.log.read_text()
        assert re.search(r"^bootstrap: .*takes some minutes", told, re.MULTILINE)
        assert re.search(r"^bootstrap: +\d+ installed$", told, re.MULTILINE)
        # Of pip, which keeps what it fetched, and asks Rust for its version, which leaves a file.
        assert {path.name for path in (stranger.folder / "home").iterdir()} <= {".cache", ".rustup"}
        assert {path.name for path in (stranger.folder / "home").glob(".cache/*")} <= {"pip"}

        said = stranger.paste(*OTHERS, into="sh", within=stranger.clone)
        heard = re.findall(rf"^({url}/play/\S+/stream)  \S", said, re.MULTILINE)
        assert len(heard) == 6
        for audio in heard:
            assert httpx.get(audio, timeout=60).headers["content-type"].startswith("audio/")
        assert len((stranger.clone / "start.bin").read_bytes()) == 100
        assert (stranger.clone / "song.wav").read_bytes()[:4] == b"RIFF"
        assert '"play_count":' in said
        assert '"artist":"Somebody"' in said
        # Nothing went wrong on the way: the clip is where it was, heard and edited.
        clips = httpx.get(f"{url}/play", timeout=60).json()
        assert len(clips) == 6
        assert [clip["genre"] for clip in clips].count("Demo") == 1

        # The same in other shells, in terminals of their own.
        for shell in ("bash", "zsh"):
            if shutil.which(shell):
                stranger.paste(*OTHERS, into=shell, within=stranger.clone)
    finally:
        service.press_ctrl_c()


def test_run_installs_what_running_needs_and_takes_nothing_away(stranger: Stranger) -> None:
    locked = tomllib.loads((TOP / "poetry.lock").read_text())["package"]
    running = {package["name"] for package in locked if "main" in package["groups"]}
    assert len(running) < 0.6 * len(locked)
    stranger.paste("scripts/bootstrap run", into="sh", within=stranger.clone)
    beside = stranger.packages() - running - {"mosic", "pip", "setuptools"}
    assert beside == set()

    stranger.paste("make setup", into="sh", within=stranger.clone)
    assert {"pytest", "ruff", "mypy"} <= stranger.packages()
    everything = stranger.packages()
    stamp = (stranger.clone / ".venv/.mosic-bootstrap").stat().st_mtime_ns
    for again in ("scripts/bootstrap run", "make setup", "scripts/bootstrap run"):
        assert "bootstrap: " not in stranger.paste(again, into="sh", within=stranger.clone)
    assert (stranger.clone / ".venv/.mosic-bootstrap").stat().st_mtime_ns == stamp
    # Also when there is something to do, as after `git pull`.
    with (stranger.clone / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    assert "bootstrap: done" in stranger.paste("scripts/bootstrap run", into="sh", within=stranger.clone)
    assert stranger.packages() == everything
