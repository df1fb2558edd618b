"""Fixtures: one real PostgreSQL for each process of the run, and databases in it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from sqlalchemy import URL

from mosic.db.engine import create_engine
from mosic.db.migrate import migrate
from mosic.db.tables import metadata
from mosic.logs import set_up_logs
from mosic.postgres import EmbeddedPostgres, open_embedded
from mosic.settings import Settings
from tests.support.databases import TEMPLATE, empty_database, shown
from tests.support.house import House
from tests.support.installation import Installation
from tests.support.kept import KeptConnection
from tests.support.limits import wait_for_the_database
from tests.support.probes import KeptProbes
from tests.support.service import Service, running_service

SLOW = os.environ.get("MOSIC_TEST_SLOW") == "1"
REQUIRE_PROGRAMS = os.environ.get("MOSIC_TEST_REQUIRE_PROGRAMS") == "1"
_CRASHED = pytest.StashKey[bool]()


def pytest_configure() -> None:
    """What is started by `nohup`, or in the background by a script, ignores these, and so would all that it
    starts: no test of Ctrl-C could pass."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """More than processors: half the time tests wait, for services to start and for clocks."""
    return max(3, os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """A worker that crashed is more than a failed test: no second run can make up for it (`scripts/test`)."""
    if error is not None:
        node.config.stash[_CRASHED] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _CRASHED in session.config.stash:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: one that was begun last would run alone at the end."""
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        slow = item.get_closest_marker("slow") is not None
        if slow and not SLOW:
            item.add_marker(pytest.mark.skip(reason="slow: set MOSIC_TEST_SLOW=1"))
        else:
            seconds[item.path] += _guess(slow=slow, limited=item.get_closest_marker("timeout") is not None)
    items.sort(key=lambda item: -seconds[item.path])


def _guess(*, slow: bool, limited: bool) -> float:
    """How long a test takes, roughly: those with a time limit of their own need more than the usual one."""
    if slow:
        return 60 if limited else 10
    return 0.5


@pytest.fixture(scope="session")
def _asyncio_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Tests, and the services in them, run on the loop that `mosic serve` runs on. In place of the fixture of
    pytest-asyncio, whose hook for this knows tests that are coroutines only: after another one that uses the
    database, the database and all that lives for the whole run would be made anew."""
    return uvloop.new_event_loop


def pytest_collection_finish() -> None:
    _look_for_garbage_in_what_comes()


def _look_for_garbage_in_what_comes() -> None:
    """Thousands of tests are no garbage, nor is what libraries keep of each service: to look through them
    again and again takes longer than most tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where every program is required, a skip is a failure: a proof that did not run proves nothing."""
    report = yield
    if REQUIRE_PROGRAMS and report.skipped and not hasattr(report, "wasxfail"):  # type: ignore[attr-defined]
        report.outcome = "failed"  # type: ignore[attr-defined]
    return report


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """What a file of tests has left open warns at its end, and a warning is an error."""
    yield
    _look_for_garbage_in_what_comes()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The machine's own MOSIC_* settings and .env must not reach the tests."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith("MOSIC_") and not name.startswith("MOSIC_TEST_"):
            patch.delenv(name)
    patch.setenv("MOSIC_LOG_FORMAT", "json")
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def _slow_databases_are_waited_for() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    wait_for_the_database(patch, times=12)
    yield
    patch.undo()


@pytest.fixture
def impatient_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which it does not respond, and that are about what is done then."""
    wait_for_the_database(monkeypatch, times=0.2)


@pytest.fixture(scope="session", autouse=True)
def _logs_as_in_production() -> None:
    set_up_logs(Settings(log_format="json", log_level="warning"))
    # What is logged goes to pytest, which shows it with a failure.
    logging.getLogger().handlers.clear()


@pytest.fixture(scope="session", autouse=True)
async def _probes_kept() -> AsyncIterator[None]:
    """From one service to the next; `tests/audio` has pools of its own."""
    KeptProbes.loop = asyncio.get_running_loop()
    patch = pytest.MonkeyPatch()
    patch.setattr("mosic.boot.ProbePool", KeptProbes)
    yield
    await KeptProbes.end_all()
    patch.undo()


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A folder with a short path: the path of a unix socket is limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="mosic-"))
    # PostgreSQL runs as another account when the tests run as root.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def postgres(short_tmp: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = await open_embedded(short_tmp / "pg")
    maintenance = KeptConnection(server.url_for("postgres"))
    # Durability is proved by the tests that kill their own servers; this one only has to be quick.
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
        await maintenance.execute(f"ALTER SYSTEM SET {setting}")
    await maintenance.execute("SELECT pg_reload_conf()")
    template = create_engine(server.url_for(TEMPLATE), pool_size=1)
    await maintenance.execute(f"CREATE DATABASE {TEMPLATE}")
    await migrate(template)
    await template.dispose()
    await maintenance.close()
    yield server
    await server.close()


@pytest.fixture(scope="session")
async def _maintenance(postgres: EmbeddedPostgres) -> AsyncIterator[KeptConnection]:
    """For what is not done inside the database that it is done to."""
    connection = KeptConnection(postgres.url_for("postgres"))
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def _shared_database(
    postgres: EmbeddedPostgres, _maintenance: KeptConnection
) -> AsyncIterator[KeptConnection]:
    await _maintenance.execute(f"CREATE DATABASE mosic_shared TEMPLATE {TEMPLATE}")
    connection = KeptConnection(postgres.url_for("mosic_shared"))
    yield connection
    await connection.close()


@pytest.fixture
async def database_url(_shared_database: KeptConnection) -> URL:
    """A database at the current revision, without a row: emptying one is quicker than making one."""
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    await _shared_database.execute(f"TRUNCATE {tables}")
    return _shared_database.url


@pytest.fixture
async def own_database_url(postgres: EmbeddedPostgres, _maintenance: KeptConnection) -> AsyncIterator[URL]:
    """A database of the test's own, at the current revision, to do with as it likes."""
    name = f"test_{os.urandom(6).hex()}"
    await _maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres.url_for(name)
    await _maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database_url(postgres: EmbeddedPostgres, _maintenance: KeptConnection) -> AsyncIterator[URL]:
    """A database of the test's own, without any table."""
    name = f"test_{os.urandom(6).hex()}"
    await _maintenance.execute(f"CREATE DATABASE {name}")
    yield postgres.url_for(name)
    await _maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def _service_of_the_file(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    media = tmp_path_factory.mktemp("service") / "media"
    async with empty_database(postgres) as url, running_service(media, url) as running:
        yield running


@pytest.fixture
async def service(_service_of_the_file: Service) -> Service:
    """A running service without a clip or an upload: one for all tests of a file, whose metrics go on."""
    await _service_of_the_file.empty()
    return _service_of_the_file


@pytest.fixture
async def own_service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    """The same, for this test alone."""
    async with running_service(tmp_path / "media", shown(database_url)) as running:
        yield running


@pytest.fixture
def make_house(short_tmp: Path) -> Iterator[Callable[..., House]]:
    """Folders in which mosic runs as processes, each with settings of its own."""
    made: list[House] = []

    def make(**settings: str) -> House:
        folder = short_tmp / f"house-{os.urandom(4).hex()}"
        folder.mkdir()
        made.append(House(folder, **settings))
        return made[-1]

    yield make
    for house in made:
        house.end()


@pytest.fixture
def installation(short_tmp: Path) -> Iterator[Installation]:
    folder = short_tmp / f"run-{os.urandom(4).hex()}"
    folder.mkdir()
    made = Installation(folder)
    yield made
    made.end()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()
