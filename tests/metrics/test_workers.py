"""Metrics that several processes keep in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mosic import __version__
from mosic.metrics.workers import ENVIRONMENT, folder_for_workers

NOWHERE = Path("/nonexistent")

# Does what it reads from its input, one line of Python after the other, and answers each.
_WORKER = """
import sys
from mosic.metrics import *
metrics = Metrics()
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


class Worker:
    """A process with metrics of its own in the folder that the environment names."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def do(self, expression: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self._answer()

    def scrape(self) -> dict[str, float]:
        text = eval(self.do("metrics.exposition('')[0]")).decode()  # noqa: S307
        return {
            f"{sample.name}{sorted(sample.labels.items())}".removesuffix("[]"): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Worker]]:
    """Makes workers that share a folder."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "shared"))
    with ExitStack() as stack:

        class Ended(Worker):
            def __init__(self) -> None:
                super().__init__()
                stack.callback(self.end)

            def end(self, number: int = signal.SIGKILL) -> None:
                if self.process.returncode is None:
                    super().end(number)

        yield Ended


def test_any_worker_tells_the_sum_of_all(workers: type[Worker]) -> None:
    first, second = workers(), workers()
    for worker, count in ((first, 2), (second, 3)):
        for _ in range(count):
            worker.do("metrics.requests.ended('GET', '/play', 200, 0.02, 'id')")
        worker.do("metrics.streams.began()")
        worker.do("metrics.database.pool_opened(10)")
    first.do("metrics.database.seen(up=False)")
    assert first.scrape() == second.scrape()
    found = second.scrape()
    labels = "[('method', 'GET'), ('route', '/play'), ('status', '200')]"
    assert found[f"mosic_total_api_requests_total{labels}"] == 5
    assert found[f"mosic_request_latency_seconds_count{labels}"] == 5
    assert found["mosic_streams_total"] == 2
    assert found["mosic_active_streams"] == 2
    assert found["mosic_database_connections_max"] == 20
    assert found["mosic_database_up"] == 0
    assert found["mosic_workers"] == 2
    assert found[f"mosic_build_info[('version', '{__version__}')]"] == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_dead_worker_counted_stays_and_what_it_was_doing_goes(
    workers: type[Worker], number: int
) -> None:
    first, second = workers(), workers()
    for worker in (first, second):
        worker.do("metrics.streams.began()")
    second.end(number)
    found = first.scrape()
    assert (found["mosic_streams_total"], found["mosic_active_streams"]) == (2, 1)
    assert (found["mosic_workers"], found["mosic_database_up"]) == (1, 1)


def test_its_successor_goes_on_counting_in_its_place(workers: type[Worker], tmp_path: Path) -> None:
    watching, worker = workers(), workers()
    files = sorted(path.name for path in (tmp_path / "shared").iterdir())
    for generation in range(1, 5):
        worker.do("metrics.streams.began()")
        # Also when nobody scraped in between.
        if generation % 2:
            assert watching.scrape()["mosic_streams_total"] == generation
        worker.end()
        worker = workers()
        found = watching.scrape()
        assert (found["mosic_streams_total"], found["mosic_active_streams"]) == (generation, 0)
        assert found["mosic_workers"] == 2
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == files


def test_one_that_is_just_beginning_or_was_killed_at_it_disturbs_nobody(
    workers: type[Worker], tmp_path: Path
) -> None:
    worker = workers()
    worker.do("metrics.streams.began()")
    for name in ("counter_1.db", "histogram_1.db", "gauge_livesum_1.db", "worker_1.lock"):
        (tmp_path / "shared" / name).touch()
    assert worker.scrape()["mosic_streams_total"] == 1
    successor = workers()
    successor.do("metrics.streams.began()")
    assert worker.scrape()["mosic_streams_total"] == 2


def test_all_show_what_the_one_that_leads_saw(workers: type[Worker]) -> None:
    first, second = workers(), workers()
    leads = [worker.do("metrics.catalogue.is_read_here()") for worker in (first, second, first, second)]
    assert leads == ["True", "False", "True", "False"]
    first.do(
        "metrics.catalogue.show(CatalogueFigures(0.0, 7, 70, 9, 90, (TopClip('an-id', 'A \\\\ B', 4),)))"
    )
    for worker in (first, second):
        found = worker.scrape()
        assert (found["mosic_clips"], found["mosic_stored_bytes"]) == (7, 70)
        assert found["mosic_top_clip_plays[('clip_id', 'an-id'), ('title', 'A \\\\ B')]"] == 4
    first.end()
    assert second.do("metrics.catalogue.is_read_here()") == "True"
    # Until that one has looked there is what was seen before.
    assert second.scrape()["mosic_clips"] == 7


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return tmp_path


def test_the_folder_is_new_and_gone_at_the_end(temporary: Path) -> None:
    with folder_for_workers(NOWHERE):
        folder = Path(os.environ[ENVIRONMENT])
        assert folder.parent == temporary
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0
    assert ENVIRONMENT not in os.environ
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("working", [True, False], ids=["the working folder is left", "nothing is left"])
def test_without_a_place_for_temporary_files_another_is_taken(
    working: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only and that has no `/tmp`."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places = [str(tmp_path / "missing"), *([str(Path.cwd())] if working else [])]
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: places)
    data = tmp_path / "data"
    left = data / "mosic-metrics-left"
    left.mkdir(parents=True)
    with folder_for_workers(data):
        assert Path(os.environ[ENVIRONMENT]).parent == data
        assert not left.exists()
        assert list(Path.cwd().iterdir()) == []
    assert list(data.iterdir()) == []


def test_folders_of_the_killed_are_removed_and_of_the_living_left(temporary: Path) -> None:
    left = temporary / "mosic-metrics-left"
    orphaned = temporary / "mosic-metrics-orphaned"
    for folder in (left, orphaned):
        folder.mkdir()
        (folder / "worker_0.lock").touch()
        (folder / "counter_0.db").write_bytes(b"old")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # Of this service the parent was killed, but a worker lives on.
        patch.setenv(ENVIRONMENT, str(orphaned))
        (orphaned / "counter_0.db").unlink()
        worker = Worker()
        stack.callback(worker.end)
        patch.delenv(ENVIRONMENT)
        with folder_for_workers(NOWHERE):
            of_another = Path(os.environ[ENVIRONMENT])
            patch.delenv(ENVIRONMENT)
            with folder_for_workers(NOWHERE):
                assert not left.exists()
                assert orphaned.exists()
                assert of_another.exists()
                assert os.environ[ENVIRONMENT] != str(of_another)
            patch.setenv(ENVIRONMENT, str(of_another))


def test_a_folder_of_the_operators_choice_is_emptied_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chosen"
    folder.mkdir()
    (folder / "counter_17.db").write_bytes(b"old")
    (folder / "of-mine.txt").touch()
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    with folder_for_workers(NOWHERE):
        assert [path.name for path in folder.iterdir()] == ["of-mine.txt"]
    assert folder.exists()
