"""/metrics: what happened is what it tells."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from mosic.metrics.exposition import Metrics
from tests.support.databases import shown, way_to
from tests.support.programs import needs
from tests.support.scraped import Scraped, scrape, scrape_openmetrics
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav


async def scraped_when(service: Service, there: Callable[[Scraped], bool]) -> Scraped:
    """The first scrape of which that is true; for what becomes so soon."""
    deadline = time.monotonic() + 120
    while not there(found := await scrape(service.http)):
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.05)
    return found


async def test_metrics_tell_what_happened(service: Service) -> None:
    content = wav()
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    await service.http.post("/play/upload", content=content, headers=AUTH)
    await service.http.post("/play/upload", content=b"text", headers=AUTH)
    await service.http.get(f"/play/{clip['id']}/stream")
    await service.http.get(f"/clips/{clip['id']}/stream", headers={"Range": "bytes=100-199"})
    await service.http.get("/no/such/path")
    await service.http.get(f"/play/{clip['id']}")

    value = (await scrape(service.http)).value
    assert value("mosic_uploads_total", outcome="created") == 1
    assert value("mosic_uploads_total", outcome="duplicate") == 1
    assert value("mosic_uploads_total", outcome="unsupported-media") == 1
    assert value("mosic_upload_bytes_total") == 2 * len(content) + 4
    assert value("mosic_streams_total") == 2
    assert value("mosic_stream_bytes_total") == len(content) + 100
    assert value("mosic_active_streams") == 0
    stream = {"method": "GET", "route": "/play/{clip_id}/stream"}
    assert value("mosic_total_api_requests_total", **stream, status="200") == 1
    assert value("mosic_total_api_requests_total", **stream, status="206") == 1
    assert value("mosic_request_latency_seconds_count", **stream, status="206") == 1
    assert value("mosic_total_api_requests_total", method="GET", route="unmatched", status="404") == 1
    assert value("mosic_total_api_requests_total", method="GET", route="/play/{clip_id}", status="200") == 1


async def test_series_stay_bounded_whatever_is_asked(service: Service) -> None:
    for number in range(50):
        await service.http.get(f"/random/{number}")
        await service.http.get(f"/play/{number}")
        await service.http.request(f"METHOD{number}", "/play")
    assert len((await scrape(service.http)).samples) < 400


async def test_active_streams_while_one_is_open(service: Service) -> None:
    content = wav(2000.0)
    clip = (await service.http.post("/play/upload", content=content, headers=AUTH)).json()
    async with service.http.stream("GET", f"/play/{clip['id']}/stream") as answer:
        assert answer.status_code == 200
        assert (await scrape(service.http)).value("mosic_active_streams") == 1
    await scraped_when(service, lambda found: found.value("mosic_active_streams") == 0)


async def test_streams_by_outcome_and_time_to_first_byte(service: Service) -> None:
    clip = (await service.http.post("/play/upload", content=wav(2000.0), headers=AUTH)).json()
    stream = f"/play/{clip['id']}/stream"
    for headers in ({}, {"Range": "bytes=0-99"}, {"Range": f"bytes={10**9}-"}, {"If-Match": '"other"'}):
        await service.http.get(stream, headers=headers)
    await service.http.get(stream, headers={"If-None-Match": f'"{clip["sha256"]}"'})
    await service.http.head(stream)
    await service.http.get("/play/01935b7e-0000-7000-8000-000000000000/stream")
    async with service.http.stream("GET", stream) as answer:
        assert answer.status_code == 200

    found = await scraped_when(
        service, lambda found: found.total("mosic_streams_ended_total", outcome="client-disconnected") > 0
    )
    outcomes = {one.labels["outcome"]: one.value for one in found.all("mosic_streams_ended_total")}
    assert outcomes == {
        "complete": 2,
        "client-disconnected": 1,
        "range-not-satisfiable": 1,
        "precondition-failed": 1,
        "clip-not-found": 1,
    }
    assert found.value("mosic_streams_total") == 3
    assert found.value("mosic_stream_first_byte_seconds_count") == 3
    assert 0 < found.value("mosic_stream_first_byte_seconds_sum") < 60
    assert found.value("mosic_errors_total", code="range-not-satisfiable") == 1


async def test_uploads_by_duration_and_rate_and_what_probes_found(service: Service) -> None:
    content = wav()
    for body in (content, content, b"text"):
        await service.http.post("/play/upload", content=body, headers=AUTH)
    found = await scrape(service.http)
    assert found.value("mosic_upload_seconds_count") == 2
    assert found.value("mosic_upload_rate_bytes_per_second_count") == 2
    assert found.value("mosic_probe_seconds_count", outcome="ok") == 1
    assert found.value("mosic_probe_seconds_count", outcome="unsupported") == 1
    seconds = found.value("mosic_upload_seconds_sum")
    rates = found.value("mosic_upload_rate_bytes_per_second_sum")
    assert 0 < seconds < 60
    assert rates >= 2 * len(content) / seconds


@pytest.fixture
def service(own_service: Service) -> Service:
    """One for each test, whose metrics begin at nothing."""
    return own_service


@pytest.fixture
def often_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a look at the catalogue takes on a busy machine."""
    monkeypatch.setattr("mosic.core.watch._SHARE", 1.0)


@pytest.mark.usefixtures("often_looked_at")
async def test_the_catalogue_and_its_ten_most_played(tmp_path: Path, database_url: URL) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), metrics_refresh_seconds=0.1
    ) as service:
        clips = []
        for number in range(12):
            answer = await service.http.post(
                "/play/upload",
                files={"file": ("a.wav", wav(seed=number))},
                headers=AUTH,
                data={"title": f'"{number}" \\ ♫\n' + "x" * 300},
            )
            clips.append(answer.json())
            for _ in range(number):
                await service.http.get(f"/play/{clips[-1]['id']}/stream")
        plays = sum(range(12))
        found = await scraped_when(service, lambda found: found.total("mosic_catalogue_plays") == plays)
        assert found.value("mosic_clips") == 12
        assert found.value("mosic_stored_bytes") == sum(clip["size"] for clip in clips)
        top = {one.labels["clip_id"]: one for one in found.all("mosic_top_clip_plays")}
        assert {one: top[one].value for one in top} == {clips[n]["id"]: n for n in range(2, 12)}
        for number in range(2, 12):
            title = top[clips[number]["id"]].labels["title"]
            assert title.startswith(f'"{number}" \\ ♫')
            assert len(title) <= 80
        await scraped_when(
            service,
            lambda found: (
                found.value("mosic_catalogue_streamed_bytes")
                == sum(number * clips[number]["size"] for number in range(12))
            ),
        )

        await service.http.delete(f"/play/{clips[11]['id']}", headers=AUTH)
        found = await scraped_when(service, lambda found: found.total("mosic_clips") == 11)
        assert clips[11]["id"] not in {one.labels["clip_id"] for one in found.all("mosic_top_clip_plays")}
        assert 0 <= found.value("mosic_catalogue_age_seconds") < 60


@pytest.mark.usefixtures("often_looked_at")
async def test_titles_stay_closed_where_reads_are(tmp_path: Path, database_url: URL) -> None:
    async with running_service(
        tmp_path / "media", shown(database_url), metrics_refresh_seconds=0.1, require_key_for_reads=True
    ) as service:
        clip = (await service.http.post("/play/upload?title=Secret", content=wav(), headers=AUTH)).json()
        await service.http.get(f"/play/{clip['id']}/stream", headers=AUTH)
        found = await scraped_when(service, lambda found: found.total("mosic_top_clip_plays") == 1)
        assert found.value("mosic_top_clip_plays", clip_id=clip["id"], title="") == 1
        assert "Secret" not in (await service.http.get("/metrics")).text


async def test_disks(service: Service) -> None:
    found = await scrape(service.http)
    disk = shutil.disk_usage(service.settings.media_root)
    assert found.value("mosic_disk_size_bytes", folder="media") == disk.total
    assert abs(found.value("mosic_disk_free_bytes", folder="media") - disk.free) < 2**30


async def test_the_pool_and_whether_the_database_answers(
    tmp_path: Path, short_tmp: Path, database_url: URL
) -> None:
    async with (
        way_to(database_url, short_tmp / f"way-{os.urandom(4).hex()}") as way,
        running_service(tmp_path / "media", way.url, metrics_refresh_seconds=0.1) as service,
    ):
        found = await scraped_when(service, lambda found: found.total("mosic_catalogue_age_seconds") > 0)
        assert found.value("mosic_database_up") == 1
        assert found.value("mosic_database_connections_max") == 4
        await scraped_when(service, lambda found: found.value("mosic_database_connections_in_use") == 0)
        assert found.value("mosic_database_waiting") == 0

        await way.block()
        # It is told of all the same, at once: a scrape asks the database nothing.
        await scraped_when(service, lambda found: found.value("mosic_database_up") == 0)
        await way.unblock()
        found = await scraped_when(service, lambda found: found.value("mosic_database_up") == 1)
        assert found.value("mosic_database_waiting") == 0


async def test_connections_in_use_and_awaited(tmp_path: Path, database_url: URL) -> None:
    """A lock on the table that lists read holds them up: two have connections, the others wait for one."""
    async with running_service(tmp_path / "media", shown(database_url), db_pool_size=2) as service:
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            await connection.execute(sa.text("LOCK TABLE clips IN ACCESS EXCLUSIVE MODE"))
            lists = [asyncio.create_task(service.http.get("/play")) for _ in range(5)]
            await scraped_when(
                service,
                lambda found: (
                    found.value("mosic_database_connections_in_use") == 2
                    and found.value("mosic_database_waiting") >= 3
                ),
            )
        assert [answer.status_code for answer in await asyncio.gather(*lists)] == [200] * 5
        await engine.dispose()
        await scraped_when(
            service,
            lambda found: (
                found.value("mosic_database_connections_in_use") == 0
                and found.value("mosic_database_waiting") == 0
            ),
        )


async def test_plays_written_late(tmp_path: Path, short_tmp: Path, database_url: URL) -> None:
    async with (
        way_to(database_url, short_tmp / f"way-{os.urandom(4).hex()}") as way,
        running_service(tmp_path / "media", way.url, play_wait_seconds=0.2) as service,
    ):
        clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        await service.http.get(f"/play/{clip['id']}/stream")
        assert (await scrape(service.http)).value("mosic_plays_late_total") == 0
        await way.block()
        for _ in range(3):
            assert (await service.http.get(f"/play/{clip['id']}/stream")).status_code == 200
        assert (await scrape(service.http)).value("mosic_plays_waiting") == 3
        await way.unblock()
        found = await scraped_when(service, lambda found: found.value("mosic_plays_waiting") == 0)
        assert found.value("mosic_plays_late_total") == 3
        assert found.value("mosic_plays_total") == 4


# What Prometheus 2.42 and 3 send, what browsers and curl do, and what neither should.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2,
        PROMETHEUS_3,
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; Version=1.0.0; q=0.5, text/plain; q=0.5",
    ],
)
async def test_openmetrics_when_asked_for(service: Service, accept: str) -> None:
    answer = await service.http.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0;")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "text/plain; version=0.0.4, application/openmetrics-text; version=1.0.0; q=0.5",
        "application/openmetrics-text; version=1.0.0; q=0",
        "application/openmetrics-text; version=2.0.0",
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=1e999; q=high",
        ";;=,,;q=,é",
    ],
)
async def test_plain_text_otherwise(service: Service, accept: str) -> None:
    answer = await service.http.get("/metrics", headers=[(b"Accept", accept.encode("latin-1"))])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_openmetrics_has_exemplars_that_lead_to_the_log(service: Service) -> None:
    await service.http.get("/play", headers={"X-Request-ID": "ours-1"})
    await service.http.get("/health", headers={"X-Request-ID": "x" * 128})
    found = await scrape_openmetrics(service.http)
    (exemplar,) = [
        one.exemplar
        for one in found.all("mosic_request_latency_seconds_bucket", route="/play")
        if one.exemplar is not None
    ]
    assert exemplar.labels == {"request_id": "ours-1"}
    assert 0 < exemplar.value < 30
    # OpenMetrics 1.0 allows 128 characters; what is longer is left out, not cut.
    assert not any(one.exemplar for one in found.all("mosic_request_latency_seconds_bucket", route="/health"))


@needs("promtool")
async def test_promtool_accepts_the_metrics(service: Service) -> None:
    await service.http.post("/play/upload", content=wav(), headers=AUTH)
    text = (await service.http.get("/metrics")).text
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


async def test_an_answer_is_sent_again_for_as_long_as_is_set(tmp_path: Path, database_url: URL) -> None:
    """Each of the two formats, to GET and HEAD, and newer values when the time is over."""
    async with running_service(tmp_path / "media", shown(database_url), metrics_cache_seconds=60) as service:
        openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
        first = await service.http.get("/metrics")
        other = await service.http.get("/metrics", headers=openmetrics)
        assert first.headers["vary"] == "Accept"
        assert other.content.endswith(b"# EOF\n")
        assert not first.content.endswith(b"# EOF\n")
        await service.http.get("/no/such/path")
        again = await service.http.get("/metrics")
        assert (again.content, again.headers["content-type"]) == (
            first.content,
            first.headers["content-type"],
        )
        again = await service.http.get("/metrics", headers=openmetrics)
        assert (again.content, again.headers["content-type"]) == (
            other.content,
            other.headers["content-type"],
        )
        head = await service.http.head("/metrics")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(first.content)))


def test_a_cached_exposition_ends() -> None:
    metrics = Metrics(cache_seconds=0.2)
    first = metrics.exposition("")
    assert metrics.cached_exposition("") == first == metrics.exposition("")
    assert metrics.cached_exposition("application/openmetrics-text") is None
    deadline = time.monotonic() + 30
    while metrics.cached_exposition("") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Metrics().cached_exposition("") is None
