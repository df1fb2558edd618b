"""Where keys come from, and how they follow their file."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from mosic.background import Background
from mosic.errors import StartupError
from mosic.keys.made import new_key, read_or_make
from mosic.keys.open import open_keys
from mosic.keys.ring import KeyRing
from mosic.metrics import Metrics
from mosic.settings import Settings
from mosic.settings.timings import Timings
from tests.support.waiting import until

_READS = "mosic_api_key_file_reads_total"
_QUICK = Timings(key_file_check=0.1)


def settings(folder: Path, **given: Any) -> Settings:
    return Settings(data_dir=folder / "data", **given)


def reads(metrics: Metrics) -> tuple[float, float]:
    """How often the file was taken and refused."""
    text = metrics.exposition("")[0].decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    counts = {one.labels["outcome"]: one.value for one in samples if one.name == _READS}
    return counts.get("taken", 0), counts.get("refused", 0)


def refused(metrics: Metrics, times: int) -> bool:
    return reads(metrics)[1] == times


async def test_every_source_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("radio:k4\nagain:k1\n")
    chosen = settings(tmp_path, api_key="k1,k2", api_keys="phone:k3", api_keys_file=tmp_path / "keys")
    async with open_keys(chosen, Metrics().keys) as ring:
        holders = [ring.holder(key) for key in (b"k1", b"k2", b"k3", b"k4")]
    assert holders == ["default", "default", "phone", "radio"]
    assert not (tmp_path / "data").exists()


async def test_one_is_made_only_when_none_is_named(tmp_path: Path) -> None:
    async with open_keys(settings(tmp_path), Metrics().keys) as ring:
        made = tmp_path / "data/api_key"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert ring.holder(made.read_bytes().strip()) == "default"


def test_made_keys_differ_and_stay(tmp_path: Path) -> None:
    assert new_key() != new_key()
    assert (
        read_or_make(tmp_path / "x/one")
        == read_or_make(tmp_path / "x/one")
        != read_or_make(tmp_path / "x/two")
    )
    (tmp_path / "x/empty").write_text("\n")
    with pytest.raises(StartupError, match="empty"):
        read_or_make(tmp_path / "x/empty")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "not a file"), (b"", "no key"), (b"a:k\nsecret\n", "line 2"), ("fifo", "not a file")],
)
async def test_a_start_without_a_good_file_is_refused(
    tmp_path: Path, content: bytes | str | None, why: str
) -> None:
    file = tmp_path / "keys"
    if content == "fifo":
        os.mkfifo(file)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(StartupError, match=f"MOSIC_API_KEYS_FILE: .*{why}") as raised:
        async with open_keys(settings(tmp_path, api_keys_file=file), Metrics().keys, watch=Background()):
            pass
    assert "secret" not in str(raised.value)


async def test_the_file_is_followed(tmp_path: Path) -> None:
    """Written over, replaced by a rename, and a link turned to another folder as Kubernetes does."""
    real = tmp_path / "one"
    real.mkdir()
    (real / "keys").write_text("a:k1\n")
    (tmp_path / "current").symlink_to(real)
    file, metrics = tmp_path / "current/keys", Metrics()
    async with open_keys(
        settings(tmp_path, api_keys_file=file, timings=_QUICK), metrics.keys, watch=Background()
    ) as ring:
        assert ring.holder(b"k1") == "a"
        file.write_text("a:k1\nb:k2\n")
        await until(lambda: ring.holder(b"k2") == "b")
        assert ring.holder(b"k1") == "a"
        (real / "new").write_text("b:k2\n")
        (real / "new").rename(real / "keys")
        await until(lambda: ring.holder(b"k1") is None)
        (tmp_path / "two").mkdir()
        (tmp_path / "two/keys").write_text("c:k3\n")
        (tmp_path / "link").symlink_to(tmp_path / "two")
        (tmp_path / "link").rename(tmp_path / "current")
        await until(lambda: ring.names == ("c",))
        assert reads(metrics) == (3, 0)


async def test_a_wrong_or_missing_file_changes_nothing_and_is_said_once(tmp_path: Path) -> None:
    file, metrics = tmp_path / "keys", Metrics()
    file.write_text("a:k1\n")
    with structlog.testing.capture_logs() as logs:
        async with open_keys(
            settings(tmp_path, api_keys_file=file, timings=_QUICK), metrics.keys, watch=Background()
        ) as ring:
            spoils: tuple[Callable[[], object], ...] = (
                lambda: file.write_text("b:k2\nsecret-k3\n"),
                lambda: file.write_text(""),
                file.unlink,
                file.mkdir,
            )
            for number, spoil in enumerate(spoils, 1):
                spoil()
                await until(partial(refused, metrics, number))
                assert (ring.holder(b"k1"), ring.holder(b"k2")) == ("a", None)
            await asyncio.sleep(1)
            assert reads(metrics) == (0, 4)
            file.rmdir()
            file.write_text("b:k2\n")
            await until(lambda: ring.holder(b"k2") == "b")
    errors = [log for log in logs if log["log_level"] == "error"]
    assert len(errors) in (4, 5)  # between folder and file it may have been seen missing
    assert "line 2" in errors[0]["why"]
    assert "secret-k3" not in str(logs)
    assert {"added": ["b"], "removed": ["a"]}.items() <= logs[-2].items()


async def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    """Half a line would be a valid key, and a short one."""
    file = tmp_path / "keys"
    file.write_text("a:k1\n")
    async with open_keys(settings(tmp_path, api_keys_file=file), Metrics().keys, watch=Background()) as ring:
        with file.open("w") as out:
            for letter in "b:a-key-that-comes-slow":
                out.write(letter)
                out.flush()
                assert ring.names == ("a",)
                await asyncio.sleep(0.15)
        await until(lambda: ring.holder(b"a-key-that-comes-slow") == "b")


async def test_sighup_reads_at_once_and_its_own_handler_goes_with_the_keys(tmp_path: Path) -> None:
    file, metrics = tmp_path / "keys", Metrics()
    file.write_text("a:k1\n")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with structlog.testing.capture_logs() as logs:
        async with open_keys(settings(tmp_path, api_keys_file=file), metrics.keys, watch=Background()):
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: reads(metrics) == (1, 0))
    assert [log["cause"] for log in logs if log["log_level"] == "info"] == ["SIGHUP"]
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


async def test_short_keys_are_warned_of_by_name(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_keys(settings(tmp_path, api_keys="phone:hunter2"), Metrics().keys) as ring:
            assert isinstance(ring, KeyRing)
    assert logs[0]["names"] == ["phone"]
    assert "hunter2" not in str(logs)


@pytest.mark.parametrize("name", ["keys", "data/api_key", "data/url_secret"])
async def test_a_file_of_keys_that_others_can_read_is_warned_of(name: str) -> None:
    # Not a folder of pytest's, which other accounts cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="mosic-"))
    folder.chmod(0o755)
    try:
        (folder / "data").mkdir(mode=0o755)
        file = folder / name
        file.write_text(
            "phone:a-key-of-more-than-twenty\n" if name == "keys" else "a-key-of-more-than-twenty"
        )
        given = {"api_keys_file": file} if name == "keys" else {}
        for mode, warned in ((0o600, 0), (0o640, 0), (0o644, 1)):
            file.chmod(mode)
            with structlog.testing.capture_logs() as logged:
                async with open_keys(settings(folder, **given), Metrics().keys):
                    pass
            found = [entry["event"] for entry in logged if str(file) in entry["event"]]
            assert len(found) == warned, found
            assert all(event.startswith(("MOSIC_API_KEYS_FILE: ", "MOSIC_DATA_DIR: ")) for event in found)
    finally:
        shutil.rmtree(folder)
