"""`mosic upload` as a person runs it, in this process or as one of its own, and what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import random
import sys
import wave
from pathlib import Path
from typing import Any

from mosic.cli.upload import Options, upload
from tests.support.service import Service

MOSIC = [sys.executable, "-m", "mosic", "upload"]
# Headers of the few requests that one file takes.
OVERHEAD = 8 * 1024


def noise(size: int, *, seed: int = 0) -> bytes:
    """A WAV of about so many bytes that nothing can compress."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(random.Random(seed).randbytes(size // 4 * 4))
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def run(*paths: str, url: str | None = None, **options: Any) -> int:
    """The command in this process; it has a loop of its own."""
    return await asyncio.to_thread(upload, paths, Options(url=url, **options))


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """The command as a process."""
    return await asyncio.create_subprocess_exec(
        *MOSIC,
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    assert "Traceback" not in err.decode()
    return process.returncode, out.decode(), err.decode()


async def stored(service: Service) -> dict[str, str]:
    """The title of each clip, and the hash of what is streamed."""
    clips = (await service.http.get("/play", params={"limit": 500})).json()
    return {
        clip["title"]: sha256((await service.http.get(f"/play/{clip['id']}/stream")).content)
        for clip in clips
    }


def remembered(tmp_path: Path) -> dict[str, str]:
    """Upload ids by server and hash."""
    file = tmp_path / "state/mosic/uploads.json"
    return {key: entry["id"] for key, entry in json.loads(file.read_text())["uploads"].items()}
