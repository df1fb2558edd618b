"""What a clip is called by the name of its file, and what it is called when somebody saves it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.audio.made import ffmpeg
from tests.support.programs import needs_ffmpeg
from tests.support.service import AUTH, Service
from tests.support.sounds import wav


@pytest.mark.parametrize(
    ("file_name", "title", "saved_as"),
    [
        ("Song.wav", "Song", "Song.wav"),
        ("Song.mp3", "Song", "Song.wav"),
        ("Mr. Smith goes to town", "Mr. Smith goes to town", "Mr. Smith goes to town.wav"),
        ("Vol. 2.WAV", "Vol. 2", "Vol. 2.wav"),
    ],
)
async def test_only_a_known_ending_is_cut(
    service: Service, file_name: str, title: str, saved_as: str
) -> None:
    answer = await service.http.post(f"/play/upload?filename={quote(file_name)}", content=wav(), headers=AUTH)
    assert answer.json()["title"] == title
    streamed = await service.http.get(answer.json()["stream_url"])
    assert f'filename="{saved_as}"' in streamed.headers["content-disposition"]


@needs_ffmpeg
async def test_webm_is_offered_as_webm(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "talk.webm"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5:sample_rate=48000", "-c:a", "libopus", path)
    answer = await service.upload(path)
    streamed = await service.http.get(answer.json()["stream_url"])
    assert 'filename="talk.webm"' in streamed.headers["content-disposition"]
