"""The clip of the RFC table, uploaded to a running service."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from tests.support.exchange import Answer, exchange, head
from tests.support.rfc9110 import CONTENT, FILE_NAME, Validity
from tests.support.service import AUTH, Service


@dataclass
class ServedClip:
    service: Service
    id: str
    validity: Validity

    @property
    def path(self) -> str:
        return f"/play/{self.id}/stream"

    async def ask(self, method: str = "GET", *lines: str, port: int | None = None) -> Answer:
        """Of the service itself, or of what listens on another port in front of it."""
        return await exchange(port or self.service.port, head(method, self.path, *lines))

    async def stats(self) -> dict[str, int]:
        found: dict[str, int] = (await self.service.http.get(f"/play/{self.id}/stats")).json()
        return found


async def add_clip(service: Service) -> ServedClip:
    target = f"/play/upload?filename={quote(FILE_NAME)}"
    facts = (await service.http.post(target, content=CONTENT, headers=AUTH)).json()
    fields = (await exchange(service.port, head("HEAD", f"/play/{facts['id']}/stream"))).fields
    assert fields["etag"] == f'"{facts["sha256"]}"'
    return ServedClip(service, facts["id"], Validity(fields["etag"], fields["last-modified"]))
