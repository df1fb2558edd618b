"""An id opens one thing under one spelling, on every route that takes one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.support.service import AUTH, Service
from tests.support.sounds import wav
from tests.wire.test_ids import odd_spellings

FIELDS = {**AUTH, "Tus-Resumable": "1.0.0"}
FITTING: dict[str, dict[str, Any]] = {
    "PATCH /play/{clip_id}": {"json": {"title": "changed"}},
    "PATCH /play/uploads/{upload_id}": {
        "content": b"x",
        "headers": {**FIELDS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    },
}


async def test_no_other_spelling_of_an_id_opens_anything(service: Service) -> None:
    clip = (await service.http.post("/play/upload", content=wav(), headers=AUTH)).json()
    upload = await service.http.post("/play/uploads", headers={**FIELDS, "Upload-Length": "5"})
    ids = {"{clip_id}": clip["id"], "{upload_id}": upload.headers["Location"].rpartition("/")[2]}
    document = (await service.http.get("/openapi.json")).json()
    asked = 0
    for path, operations in document["paths"].items():
        name = next((name for name in ids if name in path), None)
        if name is None:
            continue
        for method in {*operations, "head"} - {"parameters", "options"}:
            if method == "head" and "get" not in operations and "head" not in operations:
                continue
            how: dict[str, Any] = {"headers": FIELDS, **FITTING.get(f"{method.upper()} {path}", {})}
            for odd in filter(None, odd_spellings(ids[name])):
                answer = await service.http.request(
                    method, path.replace(name, quote(odd, safe="+:{}")), **how
                )
                assert answer.status_code == 404, (method, path, odd)
                asked += 1
    assert asked > 100
    # Nothing was deleted or changed, and the canonical ids still open it.
    assert (await service.http.get(f"/play/{clip['id']}")).json() == clip
    assert (await service.http.get(f"/play/{clip['id'].upper()}")).json()["id"] == clip["id"]
    assert (await service.http.head(upload.headers["Location"], headers=FIELDS)).status_code == 200
