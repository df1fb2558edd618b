"""A large catalogue by COPY: rows as uploads would leave them, of words in many scripts."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from mosic.db.indexed import index_values

_TEXT = (
    "blue river night train golden summer silence paper moon winter station garden mirror thunder harbour "
    "ocean velvet shadow morning letter island fire glass road north candle mountain echo feather storm "
    "café naïve Ångström über façade señor garçon Straße Dvořák Łódź Işık příliš crème brûlée jalapeño "
    "любовь вечер дорога звезда снег город песня тишина берег ёлка θάλασσα νύχτα ουρανός δρόμος Σίσυφος "
    "Hà Nội mùa thu đêm trăng biển quê hương العربية ليل قمر بحر أغنية שלום לילה ירח शांति रात नदी गीत "
    "เพลง ทะเล คืน ดาว 사랑 노래 바람 하늘 기억 ＡＢＣ １２３"
)
_WORDS = _TEXT.split()
_CJK = "東京夜曲春夏秋冬雨雪花月風海山川空星光影夢愛心歌音楽時間世界青赤白黒さくらひかりカタカナ北京上海"
_GENRES = (
    "Jazz",
    "Rock",
    "Pop",
    "Classical",
    "Ambient",
    "Электроника",
    "演歌",
    "Podcast",
    "Hörspiel",
    "Folk",
)
_TYPES = (("audio/mpeg", "mp3"), ("audio/flac", "flac"), ("audio/ogg", "opus"), ("audio/mp4", "aac"))
_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
# So many different ones, which come again in a larger catalogue with other ids, times and bytes.
_DIFFERENT = 20_000
_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class _Song:
    title: str
    artist: str | None
    album: str | None
    album_artist: str | None
    genre: str | None
    date: str | None
    description: str | None
    track_number: int | None
    disc_number: int | None
    duration: float | None
    file_name: str
    tags: Mapping[str, list[str]]
    media_type: str
    codec: str
    size: int


def _phrase(random_: random.Random, most: int) -> str:
    if random_.random() < 0.2:
        return "".join(random_.choices(_CJK, k=random_.randint(1, 3 * most)))
    return " ".join(random_.choices(_WORDS, k=random_.randint(1, most)))


def _songs(random_: random.Random) -> Iterator[_Song]:
    artists = [_phrase(random_, 3) for _ in range(2000)]
    albums = [_phrase(random_, 3) for _ in range(4000)]
    for number in range(_DIFFERENT):
        known = random_.random() < 0.9
        media_type, codec = random_.choice(_TYPES)
        artist = random_.choice(artists) if known else None
        yield _Song(
            title=f"{_phrase(random_, 4)} {number}",
            artist=artist,
            album=random_.choice(albums) if known else None,
            album_artist=artist if random_.random() < 0.3 else None,
            genre=random_.choice(_GENRES) if known else None,
            date=str(random_.randint(1950, 2026)) if known else None,
            description=_phrase(random_, 20) if random_.random() < 0.2 else None,
            track_number=number % 12 + 1 if known else None,
            disc_number=None,
            duration=random_.uniform(10, 900) if random_.random() < 0.98 else None,
            file_name=f"{number:05} {_phrase(random_, 2)}.{codec}",
            tags={"composer": [_phrase(random_, 2)], "isrc": [f"US{number:010}"]} if known else {},
            media_type=media_type,
            codec=codec,
            size=random_.randrange(100_000, 20_000_000),
        )


async def fill(connection: asyncpg.Connection, count: int) -> None:
    """Adds `count` clips with blobs and plays to an empty catalogue, and analyses it. They are the same
    each time, but for their bytes. Indexes on `clips` are made anew, as a restore does, which costs less."""
    random_ = random.Random(1)
    ready = []
    for song in _songs(random_):
        indexed = index_values(song)
        ready.append((song, json.dumps(song.tags), indexed))
    dropped = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
        " AND tablename = 'clips' AND indexname NOT IN (SELECT conname FROM pg_constraint)"
    )
    for index in dropped if count > _DIFFERENT else ():
        await connection.execute(f"DROP INDEX {index['indexname']}")
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        blobs, clips, plays = [], [], []
        for number in numbers:
            song, tags, indexed = ready[number % _DIFFERENT]
            moment = _BEGAN + timedelta(seconds=150 * number)
            clip_id = _uuid7(moment, number)
            key = clip_id.hex
            blobs.append((key, os.urandom(32), song.size, song.media_type, moment))
            values: dict[str, Any] = {
                name: getattr(song, name)
                for name in _Song.__slots__
                if name not in ("tags", "media_type", "size")
            }
            values |= {"id": clip_id, "tags": tags, "blob_key": key, **indexed}
            values |= {"created_at": moment, "updated_at": moment + timedelta(seconds=number * 7919 % 10**6)}
            clips.append(values)
            played = moment if number % 3 else None
            plays.append((clip_id, number * 7919 % 5000 if played else 0, 0, played))
        async with connection.transaction():
            for table, columns, records in (
                ("blobs", ("key", "sha256", "size", "media_type", "created_at"), blobs),
                ("clips", tuple(clips[0]), [tuple(one.values()) for one in clips]),
                ("clip_plays", ("clip_id", "play_count", "bytes_streamed", "last_played_at"), plays),
            ):
                await connection.copy_records_to_table(table, records=records, columns=columns)
    await connection.execute("SET maintenance_work_mem = '512MB'")
    for index in dropped if count > _DIFFERENT else ():
        await connection.execute(index["indexdef"])
    await connection.execute("VACUUM ANALYZE")


def _uuid7(moment: datetime, number: int) -> UUID:
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | 0b10 << 62 | number)
