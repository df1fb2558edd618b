"""The peer: the same job written the usual way, as tutorials of the framework show it.

`UploadFile` copied to disk, a session from a `yield` dependency, a row-locked counter, `FileResponse`.
Started by `uvicorn benchmarks.baseline:app` with BASELINE_DATABASE_URL and BASELINE_FOLDER.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import aiofiles
import mutagen
import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, UploadFile
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

FOLDER = Path(os.environ.get("BASELINE_FOLDER", "."))
engine = create_async_engine(
    os.environ.get("BASELINE_DATABASE_URL", "postgresql+asyncpg://localhost/baseline"), pool_size=10
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Song(Base):
    __tablename__ = "songs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    duration: Mapped[float | None]
    play_count: Mapped[int] = mapped_column(default=0)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.post("/upload", status_code=201)
async def upload(file: UploadFile, db: Session) -> dict[str, Any]:
    song = Song(id=uuid4(), title=file.filename or "Untitled", play_count=0)
    path = FOLDER / f"{song.id}.audio"
    async with aiofiles.open(path, "wb") as out:
        while chunk := await file.read(1024 * 1024):
            await out.write(chunk)
    found = mutagen.File(path)
    song.duration = found.info.length if found else None
    db.add(song)
    await db.commit()
    return {"id": str(song.id), "duration": song.duration}


@app.get("/songs/{song_id}/stream")
async def stream(song_id: UUID, db: Session) -> FileResponse:
    song = await db.scalar(sa.select(Song).where(Song.id == song_id).with_for_update())
    if song is None:
        raise HTTPException(404)
    song.play_count += 1
    await db.commit()
    return FileResponse(FOLDER / f"{song.id}.audio", media_type="audio/wav")


async def plain_file(request: Request) -> FileResponse:
    return FileResponse(FOLDER / f"{request.path_params['song_id']}.audio", media_type="audio/wav")


# Starlette's FileResponse alone, without a database or FastAPI's work on a request.
app.router.routes.insert(0, Route("/files/{song_id}", plain_file))
