"""The dashboard, asked of a real Prometheus that scrapes a running service as deploy/ says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.programs import needs
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DASHBOARDS = DEPLOY / "grafana/provisioning/dashboards"


def panels() -> Iterator[dict[str, Any]]:
    dashboard = json.loads((DASHBOARDS / "mosic.json").read_text())
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions() -> Iterator[tuple[str, str]]:
    """(panel's title, expression) as Grafana would send it: all instances, a range of some scrapes."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$instance", ".*").replace("$__rate_interval", "20s")


def test_the_dashboard_shows_what_it_has_to() -> None:
    shown_metrics = " ".join(expression for _, expression in expressions())
    for metric in (
        "mosic_total_api_requests_total",
        "mosic_request_latency_seconds_bucket",
        "mosic_errors_total",
        "mosic_stream_first_byte_seconds_bucket",
        "mosic_active_streams",
        "mosic_stream_bytes_total",
        "mosic_streams_total",
        "mosic_top_clip_plays",
        "mosic_uploads_total",
        "mosic_database_connections_in_use",
        "mosic_database_waiting",
        "mosic_disk_free_bytes",
        "mosic_plays_waiting",
    ):
        assert metric in shown_metrics, metric


def test_the_dashboard_finds_its_data_and_its_place() -> None:
    """Its data source exists, and no two panels have one id or one place."""
    (source,) = yaml.safe_load((DASHBOARDS.parent / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((DASHBOARDS / "mosic.yml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    mount = "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro"
    assert mount in compose["services"]["grafana"]["volumes"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"

    taken: set[tuple[int, int]] = set()
    dashboard = json.loads((DASHBOARDS / "mosic.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus with the files of deploy/; only whom it asks, and how often, is another."""
    shutil.copytree(DEPLOY / "prometheus", folder)
    config = folder / "prometheus.yml"
    text = config.read_text().replace("mosic:8000", target)
    assert target in text
    config.write_text(re.sub(r"_interval: \d+s", "_interval: 1s", text))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = (folder / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        stdout=log,
        stderr=log,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
            async with asyncio.timeout(60):
                while not await _is_ready(http):
                    assert process.returncode is None, (folder / "log").read_text()
                    await asyncio.sleep(0.1)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def traffic(service: Service, number: int) -> None:
    """A little of everything."""
    http = service.http
    clip = (await http.post("/play/upload", content=wav(seed=number % 20), headers=AUTH)).json()
    await http.post("/play/upload", content=b"no audio", headers=AUTH)
    if number < 3:  # more of them are answered otherwise
        await http.post("/play/upload", content=wav(), headers={"X-API-Key": "wrong"})
    stream = f"/play/{clip['id']}/stream"
    await http.get(stream)
    await http.get(stream, headers={"Range": "bytes=100-199"})
    await http.get(stream, headers={"Range": f"bytes={10**9}-"})
    await http.get("/play/01935b7e-0000-7000-8000-000000000000/stream")
    await http.get("/no/such/page")
    await http.get("/play")


async def ask(http: httpx.AsyncClient, expression: str) -> list[dict[str, Any]]:
    """The samples of an instant query that are numbers."""
    answer = await http.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return [one for one in found if one["value"][1] != "NaN"]


@pytest.mark.slow
@needs("prometheus")
async def test_every_panel_has_data(tmp_path: Path, database_url: URL) -> None:
    async with (
        running_service(
            tmp_path / "media", shown(database_url), metrics_refresh_seconds=0.5, sweep_seconds=2
        ) as service,
        prometheus(tmp_path / "prometheus", f"127.0.0.1:{service.port}") as asked,
    ):
        missing = [expression for _, expression in expressions()]
        number, deadline = 0, time.monotonic() + 180
        while missing:
            assert time.monotonic() < deadline, f"no data: {missing}"
            await traffic(service, number)
            number += 1
            await asyncio.sleep(0.2)
            missing = [expression for expression in missing if not await ask(asked, expression)]

        # What it shows is what happened.
        (top, *_) = await ask(asked, "topk(1, mosic_top_clip_plays)")
        assert float(top["value"][1]) >= 1
        uploads = {one["metric"]["outcome"] for one in await ask(asked, "mosic_uploads_total")}
        assert uploads - {"duplicate"} == {"created", "unsupported-media"}
        codes = {one["metric"]["code"] for one in await ask(asked, "mosic_errors_total")}
        assert codes == {
            "unsupported-media",
            "unauthorized",
            "range-not-satisfiable",
            "clip-not-found",
            "not-found",
        }
        # The dashboard's list of instances comes from this.
        (build,) = await ask(asked, 'mosic_build_info{job="mosic"}')
        assert build["metric"]["instance"] == f"127.0.0.1:{service.port}"

        (group,) = (await asked.get("/api/v1/rules")).json()["data"]["groups"]
        states = {rule["name"]: rule["state"] for rule in group["rules"]}
        # The disk of the machine that runs the tests may be as full as it likes, and the machine as slow.
        assert {states[name] for name in ("MosicDown", "MosicDatabaseLost", "MosicErrors")} == {"inactive"}
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
