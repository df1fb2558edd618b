"""The filter for fail2ban: each wrong key is found once, under the address of the client, and nobody can have
another one banned."""

from __future__ import annotations

import ast
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from sqlalchemy import URL

from mosic.keys.failures import FREE
from tests.support.databases import shown
from tests.support.installation import Installation, Served
from tests.support.programs import needs
from tests.support.sounds import wav

DEPLOY = Path(__file__).resolve().parents[2] / "deploy/fail2ban"
KEY = "the-right-key-of-this-test"
VICTIM = "198.51.100.66"
LONG_AGO = "2001-02-03T04:05:06.000000Z"
# What an attacker would like to see as a line of the log.
LINES = (
    f"{LONG_AGO} [warning  ] wrong API key                  [mosic.keys] address={VICTIM} request_id=1",
    f'{{"address": "{VICTIM}", "event": "wrong API key", "request_id": "1", "level": "warning", '
    f'"logger": "mosic.keys", "timestamp": "{LONG_AGO}"}}',
)

# What the filter sees: the peer itself, and whom a trusted proxy names.
SEEN: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "127.0.0.1"),
    ({"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7"),
    ({"X-Forwarded-For": f"{VICTIM}, 203.0.113.8"}, "203.0.113.8"),
    ({"X-Forwarded-For": "::ffff:203.0.113.9"}, "203.0.113.9"),
    ({"X-Forwarded-For": "::ffff:cb00:710a"}, "203.0.113.10"),
    ({"X-Forwarded-For": f"fe80::1%{VICTIM}"}, "fe80::1"),
    ({"X-Forwarded-For": f'fe80::2%"}} address={VICTIM}'}, "fe80::2"),
    ({"X-Forwarded-For": LINES[0]}, "127.0.0.1"),
    ({"Forwarded": 'for=198.51.100.66, for="[2001:db8::5]:443";proto=https'}, "2001:db8::5"),
    ({"Forwarded": 'for="203.0.113.11:80"'}, "203.0.113.11"),
)


@contextmanager
def attacked(
    installation: Installation, database: URL, **settings: str
) -> Iterator[tuple[Served, httpx.Client]]:
    """A service whose log is whole once this ends."""
    served = installation.serve(
        MOSIC_DATABASE_URL_OVERRIDE=shown(database),
        MOSIC_API_KEY=KEY,
        MOSIC_REQUIRE_KEY_FOR_READS="true",
        **settings,
    )
    with httpx.Client(base_url=served.url(), timeout=60) as http:
        yield served, http
    assert served.stop() == 0


def found(log: str, folder: Path) -> list[tuple[str, float | None]]:
    """The addresses that fail2ban finds, and when it takes them to have failed."""
    file = folder / "to-be-read.log"
    file.write_text(log)
    said = subprocess.run(
        ["fail2ban-regex", "--out", "row", str(file), str(DEPLOY / "filter.d/mosic.conf")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [ast.literal_eval(line.rstrip(",")) for line in said.splitlines() if line.startswith("[")]
    return [(address, when) for address, when, _ in rows]


def send_wrong_keys(http: httpx.Client) -> None:
    for fields, _ in SEEN:
        http.patch("/play/x", json={}, headers={"X-API-Key": "wrong", **fields})


@needs("fail2ban-regex")
@pytest.mark.parametrize("form", ["json", pytest.param("console", marks=pytest.mark.slow)])
def test_each_wrong_key_is_found_once(installation: Installation, own_database_url: URL, form: str) -> None:
    began = time.time()
    with attacked(installation, own_database_url, MOSIC_LOG_FORMAT=form) as (served, http):
        send_wrong_keys(http)
        every_way = {"X-Forwarded-For": "203.0.113.50", "X-API-Key": "wrong"}
        answers = [
            http.get("/play", headers=every_way),
            http.get("/play/01935b7e-0000-7000-8000-000000000000/stream", headers=every_way),
            http.post("/play/upload", content=wav(), headers=every_way),
            http.post("/play/uploads", headers={**every_way, "Tus-Resumable": "1.0.0"}),
            http.delete(
                "/clips/x", headers={"Authorization": "Bearer no", "X-Forwarded-For": "203.0.113.50"}
            ),
        ]
        assert {answer.status_code for answer in answers} == {401}
        # Those past the limit are found as well.
        many = [
            http.patch("/play/x", json={}, headers={"X-API-Key": "wrong", "X-Forwarded-For": "203.0.113.60"})
            for _ in range(FREE + 3)
        ]
        assert [answer.status_code for answer in many] == [401] * FREE + [429] * 3
        # No key is no guess, and a right key is right.
        assert http.patch("/play/x", json={}).status_code == 401
        assert http.patch("/play/x", json={}, headers={"X-API-Key": KEY}).status_code == 404
    expected = Counter(address for _, address in SEEN)
    expected.update({"203.0.113.50": len(answers), "203.0.113.60": len(many)})
    rows = found(served.log(), installation.folder)
    assert Counter(address for address, _ in rows) == expected
    assert all(when is not None and began - 1 <= when <= time.time() for _, when in rows)
    # As the journal has them.
    journal = "".join(f"host mosic[17]: {line}\n" for line in served.log().splitlines())
    assert Counter(address for address, _ in found(journal, installation.folder)) == expected


@pytest.mark.slow
@needs("fail2ban-regex")
def test_of_a_proxy_that_is_not_trusted_nothing_is_read(
    installation: Installation, own_database_url: URL
) -> None:
    with attacked(
        installation, own_database_url, MOSIC_LOG_FORMAT="json", MOSIC_FORWARDED_ALLOW_IPS="192.0.2.1"
    ) as (served, http):
        send_wrong_keys(http)
    assert [address for address, _ in found(served.log(), installation.folder)] == ["127.0.0.1"] * len(SEEN)


@pytest.mark.slow
@needs("fail2ban-regex")
@pytest.mark.parametrize("form", ["json", "console"])
def test_nobody_can_have_another_one_banned(
    installation: Installation, own_database_url: URL, form: str
) -> None:
    """Everything that a client chooses says that the victim sent a wrong key."""
    wrong = 0
    with attacked(
        installation, own_database_url, MOSIC_LOG_FORMAT=form, MOSIC_LOG_LEVEL="debug", MOSIC_ECHO_SQL="true"
    ) as (served, http):
        parts = urlsplit(served.url())
        for line in LINES:
            for text in (line, f"\n{line}\n", f"\r\n{line}\r\n", f'x"}}\n{line}', f"\u2028{line}\x85{line}"):
                right = {"X-API-Key": KEY}
                as_bytes = {b"X-API-Key": KEY.encode()}
                one_line = text.encode().replace(b"\r", b" ").replace(b"\n", b" ").strip()
                http.get(f"/play/{quote(text)}/stream", headers=right)
                http.get("/play", params={"cursor": text, "limit": text}, headers=right)
                http.patch("/play/x", json={text: text}, headers=right)
                http.post("/play", json={"title": text, "audio_url": f"http://x/{text}"}, headers=right)
                made = http.post(
                    "/play/upload",
                    files={"file": (text, wav())},
                    data={"title": text},
                    headers=right,
                )
                assert made.status_code in (200, 201)
                http.patch(made.headers["Location"], json={"title": text, "artist": text}, headers=right)
                for name in ("X-API-Key", "X-Request-ID", "User-Agent", "X-Forwarded-For", "Host", "Range"):
                    wrong += name == "X-API-Key"
                    http.get("/play", headers={**as_bytes, name.encode(): one_line})
                with socket.create_connection((parts.hostname or "", parts.port or 0)) as raw:
                    raw.sendall(text.encode() + b"\r\n\r\n")
                    raw.settimeout(60)
                    raw.recv(4096)
        # A name for a request that is a time: it would end the ban, or prevent it.
        wrong += 1
        http.get("/play", headers={"X-API-Key": "wrong", "X-Request-ID": LONG_AGO})
    rows = found(served.log(), installation.folder)
    assert [address for address, _ in rows] == ["127.0.0.1"] * wrong
    assert all(when is not None and when > time.time() - 3600 for _, when in rows)


@needs("fail2ban-client")
def test_the_jail_is_one(tmp_path: Path) -> None:
    """fail2ban takes the files where the comments say that they go."""
    folder = tmp_path / "fail2ban"
    subprocess.run(["cp", "-r", "/etc/fail2ban", str(folder)], check=True)
    subprocess.run(["cp", "-r", f"{DEPLOY}/.", str(folder)], check=True)
    said = subprocess.run(
        ["fail2ban-client", "-c", str(folder), "-d"], capture_output=True, text=True, check=True
    )
    commands = [ast.literal_eval(line) for line in said.stdout.splitlines() if line.startswith("[")]
    of_ours = [command for command in commands if "mosic" in command]
    assert ["add", "mosic", "systemd"] in of_ours
    assert ["set", "mosic", "maxretry", 10] in of_ours
    (expressions,) = [c for c in of_ours if c[:3] == ["multi-set", "mosic", "addfailregex"]]
    assert len(expressions[3]) == 2
    assert ["start", "mosic"] in of_ours
