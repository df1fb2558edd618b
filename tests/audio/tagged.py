"""The tags that the tests write into files of every format, and how they have to come out."""

from __future__ import annotations

from mosic.audio.info import AudioInfo

TITLE = "Блюз №1 🎵 日本"


def check(found: AudioInfo, *, total: bool = True) -> None:
    assert found.title == TITLE
    assert found.artist == "Ana & the Löwen"
    assert found.album == "Seek"
    assert found.album_artist == "Various"
    assert found.genre == "Jazz"
    assert found.date == "2019"
    assert found.track_number == 3
    assert found.tags["composer"] == ["Clara"]
    assert found.tags["tracknumber"] == ["3"]
    if total:
        assert found.tags["tracktotal"] == ["12"]
