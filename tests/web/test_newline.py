"""What a person's terminal is spared: a prompt behind an answer."""

from __future__ import annotations

from tests.support.service import AUTH, Service
from tests.support.sounds import wav


async def test_every_json_answer_ends_in_a_newline(service: Service) -> None:
    clip = (await service.http.put("/play/upload", content=wav(), headers=AUTH)).json()
    tus = {**AUTH, "Tus-Resumable": "1.0.0"}
    upload = await service.http.post("/play/uploads", headers={**tus, "Upload-Length": "9"})
    for path in (
        *("/play", f"/play/{clip['id']}", f"/play/{clip['id']}/stats", upload.headers["Location"]),
        *("/health", "/ready", "/openapi.json", "/nowhere", "/play/nothing", "/play?limit=0"),
    ):
        answer = await service.http.get(path, headers=tus)
        assert answer.content.endswith(b"}\n") or answer.content.endswith(b"]\n"), path
        assert answer.headers["Content-Length"] == str(len(answer.content)), path
        if path != upload.headers["Location"]:  # where tus says what HEAD answers
            head = await service.http.head(path, headers=tus)
            assert head.headers["Content-Length"] == answer.headers["Content-Length"], path
    # What no route and no application has answered ends so too.
    raw = await service.raw(b"GET / HTTP/1.1\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.endswith(b"}\n")
