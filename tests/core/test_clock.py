"""A clock of this machine that is far from the database's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.db.clock import DatabaseClock
from tests.support.databases import shown
from tests.support.service import AUTH, running_service
from tests.support.sounds import wav

DAY = 86_400


def time_of(id_: str) -> float:
    """RFC 9562 §5.7."""
    return int(id_.replace("-", "")[:12], 16) / 1000


@pytest.mark.parametrize("days", [-40, -1, 1, 40])
async def test_uploads_go_on_and_their_ids_have_the_time_of_the_database(
    tmp_path: Path, own_database_url: URL, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    right = time.time
    monkeypatch.setattr("mosic.db.clock._now", lambda: right() + days * DAY)
    async with running_service(tmp_path / "media", shown(own_database_url)) as service:
        answers = [
            await service.http.post("/play/upload", content=wav(seed=seed), headers=AUTH) for seed in range(3)
        ]
        assert [answer.status_code for answer in answers] == [201] * 3
        ids = [answer.json()["id"] for answer in answers]
        assert all(abs(time_of(clip_id) - right()) < 600 for clip_id in ids)
        listed = (await service.http.get("/play")).json()
        assert [clip["id"] for clip in listed] == sorted(ids, reverse=True)


def test_it_says_so_once_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    right, off = time.time, -5000.0
    monkeypatch.setattr("mosic.db.clock._now", lambda: right() + off)
    clock = DatabaseClock()
    for _ in range(3):
        clock.compare(right())
    assert abs(clock.time() - right()) < 60
    off = 0.0
    clock.compare(right())
    assert abs(clock.time() - right()) < 60
    assert [record.levelname for record in caplog.records if record.name == "mosic.clock"] == [
        "WARNING",
        "INFO",
    ]


def test_one_that_is_about_right_is_kept() -> None:
    clock = DatabaseClock()
    clock.compare(time.time() + 30)
    assert abs(clock.time() - time.time()) < 1
