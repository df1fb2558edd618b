"""`mosic list`, `show`, `edit`, `rm` and `download` against a real service, and what all commands share."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.cli.main import app
from tests.support.databases import shown
from tests.support.ports import free_port
from tests.support.relays import Relay, relaying
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

UNKNOWN = "01a1fd3e-48c9-7366-a23d-5cc50abf371c"
# Would clear the screen, write over the line, and turn the text around.
HOSTILE = "\x1b[2J\r\x9bK../../\u202etitle"
_made = iter(range(50_000, 60_000))


@pytest.fixture(autouse=True)
def _somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MOSIC_API_KEY", KEY)


@pytest.fixture
async def service(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    async with running_service(tmp_path / "media", shown(database_url), trash_days=7) as running:
        monkeypatch.setenv("MOSIC_APP_PORT", str(running.port))
        yield running


async def mosic(*arguments: str) -> int:
    """The command in this process, which tells its exit status."""

    def call() -> int:
        try:
            app(arguments, prog_name="mosic")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
        raise AssertionError

    return await asyncio.to_thread(call)


async def add(service: Service, seconds: float = 0.1, **words: str) -> dict[str, Any]:
    content = wav(seconds, seed=next(_made))
    answer = await service.http.put("/play/upload", params=words, content=content, headers=AUTH)
    assert answer.status_code == 201, answer.text
    clip: dict[str, Any] = answer.json()
    return clip


async def insert(database_url: URL, count: int, title: str) -> None:
    """Clips that no client could add so fast, or with such titles."""
    engine = create_async_engine(database_url)
    statement = """
        WITH made AS (
            INSERT INTO clips (id, title, external_url)
            SELECT gen_random_uuid(), :title, 'https://example.org/a.mp3' FROM generate_series(1, :count)
            RETURNING id
        ) INSERT INTO clip_plays (clip_id) SELECT id FROM made
    """
    async with engine.begin() as connection:
        await connection.execute(sa.text(statement), {"title": title, "count": count})
    await engine.dispose()


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# What is there


async def test_all_pages_are_listed_for_people_and_for_programs(
    service: Service, database_url: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await mosic("list") == 0
    assert capsys.readouterr().out == ""
    await insert(database_url, 1001, HOSTILE)
    clip = await add(service, title="Töne", artist="東京")

    assert await mosic("list", "--json") == 0
    out = capsys.readouterr().out
    found = [json.loads(line) for line in out.splitlines()]
    assert len({one["id"] for one in found}) == len(found) == 1002
    (served,) = [one for one in found if one["title"] == "Töne"]
    assert served == (await service.http.get(f"/play/{clip['id']}")).json()
    assert found[-1]["title"] == HOSTILE or found[0]["title"] == HOSTILE
    assert out.replace("\n", "").isprintable()

    assert await mosic("list") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert {line.split()[0] for line in lines} == {one["id"] for one in found}
    (line,) = [line for line in lines if line.startswith(clip["id"])]
    assert re.fullmatch(
        rf"{clip['id']}  Töne {{36}}  東京 {{20}}  +0:00  +[0-9.]+ (k?B|bytes)  20..-..-.. ..:..", line
    )
    assert out.replace("\n", "").isprintable()
    assert err == ""

    assert await mosic("list", "--limit", "501") == 0
    assert len(capsys.readouterr().out.splitlines()) == 501


async def test_a_reader_who_has_enough_is_no_failure(service: Service, database_url: URL) -> None:
    await insert(database_url, 2000, "x" * 200)
    command = f"set -o pipefail; {sys.executable} -m mosic list | head -1"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out.count(b"\n"), err) == (0, 1, b"")


async def test_the_most_played_are_listed_with_their_plays(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    seldom, often = [await add(service, title=title) for title in ("Seldom", "Often")]
    for clip in (often, seldom, often):
        await service.http.get(f"/play/{clip['id']}/stream")
    assert await mosic("top", "--days", "30") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines] == [["2", often["id"], "Often"], ["1", seldom["id"], "Seldom"]]
    assert await mosic("top", "--json", "--limit", "1") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["plays"], json.loads(line)["clip"]["id"]) == (2, often["id"])


async def test_show_and_edit(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    clip = await add(service, title="Old", genre="Jazz", artist="A", description="one\ntwo")
    assert await mosic("show", clip["id"], UNKNOWN) == 1
    out, err = capsys.readouterr()
    facts = {line.split()[0]: line.split(None, 1)[-1] for line in out.splitlines()}
    assert facts["title"] == "Old"
    assert facts["genre"] == "Jazz"
    assert facts["sha256"] == clip["sha256"]
    assert "album" not in facts
    assert re.search(r"^description +one\n +two$", out, re.MULTILINE)
    assert err == f"mosic: {UNKNOWN}: There is no such clip. (clip-not-found)\n".replace("clip.", "clip")

    options = ("--title", "New", "--track-number", "3", "--unset", "genre", "--unset", "artist", "--json")
    assert await mosic("edit", clip["id"], *options) == 0
    edited = json.loads(capsys.readouterr().out)
    assert (edited["title"], edited["track_number"], edited["genre"], edited["artist"]) == (
        "New",
        3,
        None,
        None,
    )
    assert edited["description"] == "one\ntwo"
    assert edited == (await service.http.get(f"/play/{clip['id']}")).json()
    assert await mosic("show", clip["id"].upper(), "--json") == 0
    assert json.loads(capsys.readouterr().out) == edited

    for wrong in ([], ["--unset", "title"], ["--unset", "x"], ["--genre", "x", "--unset", "genre"]):
        assert await mosic("edit", clip["id"], *wrong) == 2
    assert await mosic("edit", UNKNOWN, "--title", "x") == 1


async def test_what_is_removed_can_be_brought_back(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, other = await add(service), await add(service)
    assert await mosic("rm", clip["id"], UNKNOWN, other["id"]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(
        "".join(rf"{one['id']}  in the trash until 20..-..-.. ..:..\n" for one in (clip, other)), out
    )
    assert f"mosic: {UNKNOWN}: There is no such clip" in err
    assert "`mosic rm --undo ID` restores" in err

    assert await mosic("list") == 0
    assert capsys.readouterr().out == ""
    assert await mosic("list", "--trash", "--json") == 0
    in_trash = {json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()}
    assert in_trash == {clip["id"], other["id"]}

    assert await mosic("rm", "--undo", clip["id"]) == 0
    assert capsys.readouterr().out == f"{clip['id']}  restored\n"
    assert (await service.http.get(f"/play/{clip['id']}")).status_code == 200
    assert await mosic("rm", clip["id"], "--json") == 0
    gone = json.loads(capsys.readouterr().out)
    assert gone["id"] == clip["id"]
    assert re.fullmatch(r"20..-..-..T..:..:..Z", gone["restorable_until"])


async def test_without_a_trash_it_is_gone(
    tmp_path: Path, database_url: URL, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_service(tmp_path / "media", shown(database_url), trash_days=0) as service:
        clip = await add(service)
        assert await mosic("rm", clip["id"], "--url", service.url) == 0
    assert capsys.readouterr().out == f"{clip['id']}  removed for good\n"


# Downloads


async def test_a_download_is_named_by_the_clip_and_writes_over_nothing(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = await add(service, title="../.x/\u202eSöng")
    same = await add(service, title="../.x/\u202eSöng")
    name, second = "_._.x_Söng.wav", f"_._.x_Söng ({same['id']}).wav"
    assert await mosic("download", clip["id"], same["id"]) == 0
    assert capsys.readouterr().out == f"saved   {name}\nsaved   {second}\n"
    assert (sha256(name), sha256(second)) == (clip["sha256"], same["sha256"])
    assert sorted(os.listdir()) == sorted((name, second))
    # Nor does it save them twice.
    assert await mosic("download", clip["id"], same["id"]) == 0
    assert capsys.readouterr().out == f"present {name}\npresent {second}\n"

    Path(name).write_text("mine")
    assert await mosic("download", clip["id"]) == 1
    assert Path(name).read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert await mosic("download", clip["id"], "--force") == 0
    assert sha256(name) == clip["sha256"]

    Path("folder").mkdir()
    capsys.readouterr()
    assert await mosic("download", clip["id"], "-o", "folder", "--json") == 0
    saved = {"id": clip["id"], "file": f"folder/{name}", "result": "saved"}
    assert json.loads(capsys.readouterr().out) == saved
    assert await mosic("download", clip["id"], "-o", "folder/mine.wav") == 0
    assert sha256("folder/mine.wav") == sha256(f"folder/{name}") == clip["sha256"]
    assert len(os.listdir("folder")) == 2

    assert await mosic("download", clip["id"], same["id"], "-o", "one.wav") == 2
    assert await mosic("download", clip["id"], "-o", "nowhere/") == 2
    assert await mosic("download", clip["id"], "-o", "nowhere/x.wav") == 1
    assert await mosic("download", UNKNOWN, clip["id"], "-o", "folder") == 1
    assert capsys.readouterr().out.endswith(f"present folder/{name}\n")


async def test_a_download_goes_on_where_it_broke(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = await add(service, 30, title="long")
    async with relaying(service.port) as relay:
        relay.cut_back_at = clip["size"] // 2
        assert await mosic("download", clip["id"], "--url", relay.url) == 0
        first, *more = ranges_in(relay)
        assert first is None
        assert more
        assert all(at and at > 100_000 for at in more)
        assert relay.received < clip["size"] + 16 * 1024
    assert sha256("long.wav") == clip["sha256"]
    assert "trying again in" in capsys.readouterr().err

    # Nor does a second call begin anew.
    Path("long.wav").unlink()
    async with relaying(service.port) as relay:
        relay.cut_back_at = clip["size"] // 2
        assert await mosic("download", clip["id"], "--url", relay.url, "--retries", "0") == 1
        (part,) = os.listdir()
        assert part.endswith(".part")
        size = Path(part).stat().st_size
        assert await mosic("download", clip["id"], "--url", relay.url) == 0
        assert ranges_in(relay)[-1] == size
    assert os.listdir() == ["long.wav"]
    assert sha256("long.wav") == clip["sha256"]


async def test_a_part_that_is_not_of_the_clip_is_thrown_away(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = await add(service, 30, title="long")
    async with relaying(service.port) as relay:
        relay.cut_back_at = clip["size"] // 2
        assert await mosic("download", clip["id"], "--url", relay.url, "--retries", "0") == 1
    (part,) = os.listdir()
    Path(part).write_bytes(bytes(100_000))
    assert await mosic("download", clip["id"]) == 1
    assert "do not match the digest of the service" in capsys.readouterr().err
    assert os.listdir() == []
    assert await mosic("download", clip["id"]) == 0
    assert sha256("long.wav") == clip["sha256"]


def ranges_in(relay: Relay) -> list[int | None]:
    """Where each request for audio wants to begin; one for a range only if it is still of the same bytes."""
    requests = relay.heads.decode("latin-1").split("\r\n\r\n")
    found: list[int | None] = []
    for request in requests:
        if re.match("GET /play/[^ /]+/stream ", request):
            wanted = re.search(r"^range: bytes=([0-9]+)-\r?$", request, re.MULTILINE | re.IGNORECASE)
            assert bool(wanted) == bool(re.search(r'^if-range: "[0-9a-f]{64}"', request, re.M | re.I))
            found.append(int(wanted[1]) if wanted else None)
    return found


# What they share


@pytest.mark.parametrize(
    "command",
    [["list"], ["show", UNKNOWN], ["rm", UNKNOWN], ["download", UNKNOWN, UNKNOWN.replace("0", "1")]],
)
async def test_where_there_is_no_service_it_is_said_once(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert await mosic(*command, "--url", url) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"mosic: cannot connect to {url.removeprefix('http://')}: Connection refused. "
        f"Is the service running, and is {url} its URL?\n"
    )


async def test_keys_are_needed_where_the_service_needs_them(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"require_key_for_reads": True, "trash_days": 7}
    async with running_service(tmp_path / "media", shown(database_url), **settings) as service:
        clip = await add(service, title="closed")
        url = ("--url", service.url)
        assert await mosic("download", clip["id"], *url) == 0
        monkeypatch.delenv("MOSIC_API_KEY")
        # As elsewhere a file of the folder says nothing.
        Path(".env").write_text(f"MOSIC_API_KEY={KEY}\n")
        capsys.readouterr()
        assert await mosic("list", *url) == 1
        err = capsys.readouterr().err
        assert err.endswith("; give --api-key or set MOSIC_API_KEY\n")
        assert f"{Path('.env').absolute()} is not read by this command" in err
        assert await mosic("list", *url, "--api-key", KEY) == 0
        assert await mosic("rm", clip["id"], *url) == 2


@pytest.mark.parametrize("wrong", ["nonsense", "../../x", f"{UNKNOWN}/stream", f"{{{UNKNOWN}}}"])
async def test_what_is_no_id_is_sent_nowhere(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["show"], ["edit", "--title", "x"], ["rm"], ["download"]):
        assert await mosic(*command, wrong) == 2
    assert capsys.readouterr().err.count("is not the id of a clip") == 4


async def test_h_is_help_and_commands_come_in_the_order_of_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert await mosic("-h") == 0
    commands = re.findall(r"^│ ([a-z][a-z-]*) ", capsys.readouterr().out, re.MULTILINE)
    assert commands == [
        *("serve", "demo", "migrate", "key"),
        *("upload", "list", "top", "show", "edit", "rm", "download"),
        *("sweep", "audit", "work", "backup", "restore", "adopt-store"),
    ]
    for command in commands:
        assert await mosic(command, "-h") == 0
        short = capsys.readouterr().out
        assert await mosic(command, "--help") == 0
        assert capsys.readouterr().out == short != ""


def test_a_shell_completes_commands() -> None:
    """The script, in bash itself, gives what bash would offer."""
    script = """
        eval "$(_MOSIC_COMPLETE=source_bash mosic)"
        COMP_WORDS=(mosic do) COMP_CWORD=1
        _mosic_completion mosic do mosic
        echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("download\n", "")
