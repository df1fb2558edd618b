"""Waveforms that are not there: not yet, or not in this installation."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from mosic.core.works import sound
from tests.support.databases import shown
from tests.support.service import AUTH, Service, running_service
from tests.support.sounds import wav
from tests.support.waiting import until


async def test_without_the_extra_and_after_its_installation(
    tmp_path: Path, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service without PyAV serves what another has heard, says what to install for the rest, and after its
    installation hears it too."""
    settings = {"media_root": tmp_path / "media", "database_url": shown(database_url), "works_at_once": 1}
    urls: list[str] = []
    for installed in (True, False, True):
        monkeypatch.setattr(sound, "find_spec", lambda name, installed=installed: installed or None)
        async with running_service(**settings) as service:  # type: ignore[arg-type]
            if len(urls) < 2:
                content = wav(0.5, seed=len(urls))
                answer = await service.http.post("/play/upload", content=content, headers=AUTH)
                urls.append(f"/play/{answer.json()['id']}/waveform")

            async def is_there(url: str) -> bool:
                return (await service.http.get(url)).status_code == 200

            await until(lambda: is_there(urls[0]))
            if not installed:
                answer = await service.http.get(urls[1])
                assert (answer.status_code, answer.json()["code"]) == (501, "sound-not-installed")
                assert "pip install" in answer.json()["detail"]
                clip = (await service.http.get(urls[1].removesuffix("/waveform"))).json()
                assert (clip["loudness"], clip["silence"]) == (None, None)
            elif len(urls) == 2:
                await until(lambda: is_there(urls[1]))


async def test_until_it_is_there(tmp_path: Path, database_url: URL) -> None:
    async with running_service(tmp_path / "media", shown(database_url), works_at_once=0) as service:
        clip = (await service.http.post("/play/upload", content=wav(0.5), headers=AUTH)).json()
        url = f"/play/{clip['id']}/waveform"
        for form in ("", "?format=dat", "?format=svg", "?points=5"):
            answer = await service.http.get(url + form)
            assert answer.status_code == 202
            assert answer.json() == {"state": "pending", "retry_after": int(answer.headers["Retry-After"])}
            assert answer.headers["Cache-Control"] == "no-store"
        looked = await service.http.head(url)
        assert (looked.status_code, looked.content) == (202, b"")
        assert (await service.http.get(f"{url}?points=0")).status_code == 422
        assert (clip["loudness"], clip["silence"]) == (None, None)
        await service.http.delete(f"/play/{clip['id']}", headers=AUTH)
        assert (await service.http.get(url)).status_code == 404


async def test_external_clips_have_none(service: Service) -> None:
    answer = await service.http.post(
        "/play", json={"title": "Far", "audio_url": "https://example.com/a.mp3"}, headers=AUTH
    )
    clip = answer.json()
    answer = await service.http.get(f"/play/{clip['id']}/waveform")
    assert (answer.status_code, answer.json()["code"]) == (422, "no-waveform")
    assert (clip["loudness"], clip["silence"]) == (None, None)
