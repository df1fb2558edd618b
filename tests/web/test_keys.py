"""Keys by name, and what wrong ones get."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL
from starlette.types import Scope

from mosic.keys.failures import FREE
from mosic.web.proxies import client_address
from tests.support.databases import shown
from tests.support.exchange import exchange, head
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import wav

WRONG = {"X-API-Key": "wrong"}


@pytest.fixture
def service(own_service: Service) -> Service:
    """One for each test: who fails too often is made to wait."""
    return own_service


def coming_from(address: str, key: str = "wrong") -> dict[str, str]:
    """As the proxy in front of the service says it: the test's own address is one that is believed."""
    return {"X-API-Key": key, "X-Forwarded-For": address}


async def edit(service: Service, headers: dict[str, str]) -> httpx.Response:
    return await service.http.patch("/play/nothing", json={}, headers=headers)


async def sample(service: Service, line: str) -> float:
    text = (await service.http.get("/metrics")).text
    found = [row for row in text.splitlines() if row.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


async def test_every_named_key_opens_and_is_counted_by_its_name(tmp_path: Path, database_url: URL) -> None:
    (tmp_path / "keys").write_text("file-key:third-key\n")
    async with running_service(
        tmp_path / "media",
        shown(database_url),
        api_keys="phone:first-key,radio:second-key",
        api_keys_file=tmp_path / "keys",
    ) as service:
        for key in (KEY, "first-key", "second-key", "third-key", "third-key"):
            assert (await edit(service, {"X-API-Key": key})).status_code == 404
        # The resumable uploads are behind a layer of their own.
        started = await service.http.post(
            "/play/uploads",
            headers={"X-API-Key": "first-key", "Tus-Resumable": "1.0.0", "Upload-Length": "5"},
        )
        assert started.status_code == 201
        for name in ("phone", "radio", "file-key", "phone:first-key", ""):
            assert (await edit(service, {"X-API-Key": name})).status_code == 401
        for name, times in {"default": 1, "phone": 2, "radio": 1, "file-key": 2}.items():
            line = f'mosic_api_key_requests_total{{key_name="{name}"}}'
            assert await sample(service, line) == times
        assert await sample(service, "mosic_wrong_api_keys_total") == 5
        metrics = (await service.http.get("/metrics")).text
        assert not any(key in metrics for key in (KEY, "first-key", "second-key", "third-key"))


@pytest.mark.usefixtures("unforgiving")
async def test_many_wrong_keys_get_429_and_a_right_one_behind_the_same_address_always_opens(
    service: Service,
) -> None:
    for _ in range(FREE):
        answer = await edit(service, WRONG)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "ApiKey")
    waits = []
    for _ in range(20):
        answer = await edit(service, WRONG)
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-failures")
        waits.append(int(answer.headers["Retry-After"]))
        assert (await edit(service, AUTH)).status_code == 404
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= 6 < waits[-1] <= 60
    # Who sends no key guesses nothing, and other addresses are other people.
    assert (await edit(service, {})).status_code == 401
    assert (await edit(service, coming_from("203.0.113.7"))).status_code == 401
    assert (await service.http.get("/play", headers=WRONG)).status_code == 200
    uploaded = await service.http.post("/play/upload", content=wav(), headers=AUTH)
    assert uploaded.status_code == 201


@pytest.mark.usefixtures("unforgiving")
async def test_a_client_cannot_choose_the_address_it_fails_from(tmp_path: Path, database_url: URL) -> None:
    """Before the proxy's own word stands whatever the client has written."""
    async with running_service(tmp_path / "media", shown(database_url)) as service:
        statuses = [
            (await edit(service, coming_from(f"198.51.100.{number}, 203.0.113.7"))).status_code
            for number in range(FREE + 2)
        ]
        assert statuses == [401] * FREE + [429] * 2
        assert (await edit(service, WRONG)).status_code == 401
    async with running_service(
        tmp_path / "media", shown(database_url), forwarded_allow_ips="192.0.2.1"
    ) as service:
        statuses = [
            (await edit(service, coming_from(f"198.51.100.{number}"))).status_code
            for number in range(FREE + 2)
        ]
        assert statuses == [401] * FREE + [429] * 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "10.0.0.1"),
        ([("X-Forwarded-For", "203.0.113.5")], "203.0.113.5"),
        ([("X-Forwarded-For", "1.2.3.4, 203.0.113.5")], "203.0.113.5"),
        ([("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "203.0.113.5, 10.0.0.2")], "203.0.113.5"),
        ([("X-Forwarded-For", "unknown")], "10.0.0.1"),
        ([("X-Forwarded-For", "1.2.3.4, rubbish, 10.0.0.2")], "10.0.0.2"),
        ([("X-Forwarded-For", "203.0.113.5:8080")], "203.0.113.5"),
        ([("X-Forwarded-Proto", "https")], "10.0.0.1"),
        ([("Forwarded", 'for=1.2.3.4, for="[2001:db9::5]:80";proto=https')], "2001:db9::5"),
        ([("Forwarded", "for=_hidden")], "10.0.0.1"),
    ],
)
def test_the_client_is_who_believed_proxies_say(fields: list[tuple[str, str]], expected: str) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    scope: Scope = {"type": "http", "client": ("10.0.0.1", 1), "headers": headers}
    assert client_address(scope, "10.0.0.0/8") == expected
    assert client_address(scope, "192.0.2.1") == "10.0.0.1"
    assert client_address({**scope, "client": None}, "10.0.0.0/8") is None


@pytest.mark.parametrize(
    "line", ["POST /play", "POST /play/upload", "PUT /play/upload", "POST /play/uploads"]
)
@pytest.mark.usefixtures("unforgiving")
async def test_a_wrong_key_is_answered_before_a_byte_of_the_body_came(service: Service, line: str) -> None:
    """A gigabyte is announced and nothing of it sent. That it is not asked for with «100 Continue» is part of
    it; 401 and 429 alike.
    """
    method, path = line.split()
    lines = ("X-API-Key: wrong", "Tus-Resumable: 1.0.0", "Upload-Length: 1000000000")
    for number in range(FREE + 1):
        answer = await exchange(
            service.port,
            head(
                method,
                path,
                *lines,
                "Content-Type: application/offset+octet-stream",
                "Content-Length: 1000000000",
                "Expect: 100-continue",
                closing=False,
            ),
        )
        assert answer.status == (401 if number < FREE else 429)
    assert service.files() == []


@pytest.mark.slow
async def test_a_storm_of_wrong_keys_stalls_nobody(service: Service) -> None:
    """No answer is held back, so nothing piles up."""
    async with httpx.AsyncClient(base_url=service.url, timeout=100) as attacker:
        storm = asyncio.gather(
            *(attacker.patch("/play/x", headers=coming_from(f"2001:db8:{n:x}::1")) for n in range(200))
        )
        assert (await edit(service, AUTH)).status_code == 404
        assert {answer.status_code for answer in await storm} == {401}


async def test_the_document_says_what_a_route_without_a_valid_key_answers(service: Service) -> None:
    document = (await service.http.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["APIKeyHeader"] == {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "Needed for every write, and for reads where they are not public.",
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (method, path) == ("get", "/play"):
                continue  # of the list, only the trash needs a key
            writes = method not in ("get", "options") or "/uploads/" in path
            assert bool(operation.get("security")) is writes, (method, path)
            assert ({"401", "429"} <= operation["responses"].keys()) is writes, (method, path)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
async def test_a_key_as_a_bearer(service: Service, scheme: str) -> None:
    """RFC 6750 §2.1; RFC 9110 §11.1: the name of a scheme has no case."""
    headers = {"Authorization": f"{scheme} {KEY}"}
    made = await service.http.post("/play/upload", content=wav(), headers=headers)
    assert made.status_code == 201
    created = await service.http.post(
        "/play/uploads", headers={**headers, "Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    )
    assert created.status_code == 201
    assert (await service.http.delete(f"/play/{made.json()['id']}", headers=headers)).status_code == 204


async def test_what_is_no_key_as_a_bearer(service: Service) -> None:
    http = service.http
    wrong = await http.post("/play/upload", content=wav(), headers={"Authorization": "Bearer nope"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthorized")
    assert wrong.headers["WWW-Authenticate"] == 'ApiKey, Bearer error="invalid_token"'
    assert "Authorization" in wrong.json()["detail"]
    # Of another scheme, such as a proxy's own, nothing is read.
    for other in (f"Basic {KEY}", KEY, f"Bearer{KEY}", "Bearer", ""):
        answer = await http.post("/play/upload", content=wav(), headers={"Authorization": other})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "ApiKey")
    # The field of Mosic's own is the one that counts.
    both = {"Authorization": f"Bearer {KEY}", "X-API-Key": "nope"}
    assert (await http.post("/play/upload", content=wav(), headers=both)).status_code == 401
    both = {"Authorization": "Bearer nope", "X-API-Key": KEY}
    assert (await http.post("/play/upload", content=wav(), headers=both)).status_code == 201


async def test_reads_with_a_bearer(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), require_key_for_reads=True) as closed:
        clip = (await closed.http.post("/play/upload", content=wav(), headers=AUTH)).json()
        good, bad = {"Authorization": f"Bearer {KEY}"}, {"Authorization": "Bearer nope"}
        for path in (
            "/play",
            f"/play/{clip['id']}",
            f"/play/{clip['id']}/stream",
            f"/play/{clip['id']}/stats",
        ):
            assert (await closed.http.get(path, headers=good)).status_code == 200
            answer = await closed.http.get(path, headers=bad)
            assert answer.status_code == 401
            assert "Bearer" in answer.headers["WWW-Authenticate"]
        # As with X-API-Key, a wrong key beside a good signature is told.
        assert (await closed.http.get(clip["stream_url"])).status_code == 200
        assert (await closed.http.get(clip["stream_url"], headers=bad)).status_code == 401
