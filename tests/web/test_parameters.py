"""Query parameters that a route does not know: refused by name, never ignored."""

from __future__ import annotations

import json

import pytest

from tests.support.service import AUTH, Service
from tests.support.sounds import wav

TUS = {**AUTH, "Tus-Resumable": "1.0.0"}
FOR_PLAYERS = ("/stream", "/cover", "/waveform")


async def test_on_every_route(service: Service) -> None:
    clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
    made = await service.http.post("/play/uploads", headers={**TUS, "Upload-Length": "5"})
    upload = made.headers["Location"].rpartition("/")[2]
    document = (await service.http.get("/openapi.json")).json()
    refused = 0
    for path, operations in document["paths"].items():
        target = path.replace("{clip_id}", clip["id"]).replace("{upload_id}", upload)
        for method in {*operations} - {"parameters"}:
            answer = await service.http.request(method, f"{target}?art%C3%AFst=x&limt=1&limt=2", headers=TUS)
            if path.endswith(FOR_PLAYERS):
                # 202: a waveform that is not there yet.
                assert answer.status_code in (200, 202), (method, path)
                continue
            assert answer.status_code == 422, (method, path, answer.text)
            refused += 1
            if method != "head":
                problem = answer.json()
                assert problem["code"] == "invalid-request"
                assert [error["loc"] for error in problem["errors"]][1] == ["query", "limt"]
                assert "limt" in problem["detail"]
    assert refused >= 14
    assert (await service.http.get(f"/play/{clip['id']}")).json()["id"] == clip["id"]


async def test_the_key_comes_first(service: Service) -> None:
    for method, path in (
        ("POST", "/play"),
        ("PUT", "/play/upload"),
        ("DELETE", "/play/x"),
        ("POST", "/play/uploads"),
    ):
        assert (await service.http.request(method, f"{path}?x=1")).status_code == 401


async def test_those_that_are_known(service: Service) -> None:
    http = service.http
    raw = await http.post("/play/upload?title=A&artist=B&filename=c.wav", content=wav(), headers=AUTH)
    assert (raw.status_code, raw.json()["title"], raw.json()["artist"]) == (201, "A", "B")
    # Beside a form they count as well, where the form itself does not say it.
    form = await http.post(
        "/play/upload?title=Query&artist=Query",
        files={"file": ("a.wav", wav(2))},
        data={"title": "Form"},
        headers=AUTH,
    )
    assert (form.status_code, form.json()["title"], form.json()["artist"]) == (201, "Form", "Query")
    named = await http.put("/play/upload/d.wav?artist=E", content=wav(3), headers=AUTH)
    assert (named.status_code, named.json()["title"], named.json()["artist"]) == (201, "d", "E")
    given = {"title": "x", "audio_url": "http://198.18.0.1/x.mp3"}
    assert (await http.post("/play?title=A", json=given, headers=AUTH)).json()["code"] == "invalid-request"
    assert (await http.get("/play?limit=1")).status_code == 200
    for page in ("/docs", "/redoc", "/openapi.json"):
        assert (await http.get(f"{page}?utm_source=x")).status_code == 200


@pytest.mark.parametrize("query", ["x", "=", "%00=1", "&&x=1", "%ff=%ff", "x" * 7000, "Limit=1", "limit =1"])
async def test_odd_ones(service: Service, query: str) -> None:
    answer = await service.http.get(f"/play?{query}")
    assert answer.status_code == 422
    assert len(answer.content) < 1500


async def test_many_are_named_in_part(service: Service) -> None:
    answer = await service.http.get("/play?" + "&".join(f"x{number}=1" for number in range(1000)))
    assert answer.status_code == 422
    assert len(json.loads(answer.content)["errors"]) == 5
    assert "995 more" in answer.json()["detail"]
