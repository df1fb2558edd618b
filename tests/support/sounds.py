"""Real audio to send: made by ffmpeg where a codec is needed, by hand where a WAV will do."""

from __future__ import annotations

import io
import struct
import subprocess
import wave
from pathlib import Path

TAGS = {
    "title": "Блюз №1",
    "artist": "Ana & the Löwen",
    "album": "Seek",
    "genre": "Jazz",
    "date": "2019",
    "track": "3/12",
}


def wav(seconds: float = 0.2, *, rate: int = 8000, seed: int = 0) -> bytes:
    """Mono 16-bit PCM; different seeds give different bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        count = round(seconds * rate)
        period = b"".join(struct.pack("<h", (i * 37 + seed * 101) % 2000 - 1000) for i in range(2000))
        file.writeframes((period * (count // 2000 + 1))[: 2 * count])
    return out.getvalue()


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def encode(path: Path, *options: str, seconds: float = 3.0, tags: dict[str, str] | None = None) -> Path:
    """A tone in the format that the ending of `path` names."""
    metadata = [part for name, text in (tags or {}).items() for part in ("-metadata", f"{name}={text}")]
    subprocess.run(
        [
            *("ffmpeg", "-hide_banner", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}:sample_rate=44100"),
            *metadata,
            *options,
            str(path),
        ],
        check=True,
    )
    return path


def ffprobe_duration(path: Path) -> float:
    found = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(found.stdout)
