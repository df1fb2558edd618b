"""One attempt at works that were taken: learn, write, and say what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog

from mosic.background import end
from mosic.core.changing import delete_blobs
from mosic.core.runtime import Runtime
from mosic.core.works.bounds import MOST_ATTEMPTS, pause_after
from mosic.core.works.kinds import Learns, Learnt, WorkFailed
from mosic.db import clips, works
from mosic.db.works import Taken
from mosic.errors import MosicError, Unavailable

T = TypeVar("T")

_log = structlog.get_logger("mosic.works")


class _Lost(Exception):
    """The works were taken over by another process, or the clip was removed or has got other bytes."""


async def attempt(rt: Runtime, group: Learns, taken: Taken) -> bool:
    """Learn what was taken, and settle it; False when something that every work needs is away.

    When this is cancelled the works are given back, and the attempt does not count.
    """
    try:
        return await _attempt(rt, group, taken)
    except asyncio.CancelledError:
        await _give_back_at_the_end(rt, taken)
        raise


async def _attempt(rt: Runtime, group: Learns, taken: Taken) -> bool:
    began = time.monotonic()
    try:
        learnt = await _learn(rt, group, taken)
        outcome = await _to_the_end(rt, _write(rt, group, taken, learnt))
    except _Lost:
        outcome = "dropped"
    except Unavailable as error:
        _log.warning("a work was put off", **_about(taken), reason=error.detail)
        await _until_written(rt, partial(_give_back, rt, taken, rt.settings.timings.work_pause))
        return False
    except Exception as error:
        outcome = await _until_written(rt, partial(_note_failure, rt, taken, error))
    seconds = time.monotonic() - began
    for kind in taken.kinds:
        rt.metrics.works.ended(kind, outcome, seconds)
    _log.debug("a work ended", **_about(taken), outcome=outcome, seconds=round(seconds, 3))
    return True


def _about(taken: Taken) -> dict[str, object]:
    return {"clip_id": str(taken.clip.id), "kinds": list(taken.kinds), "attempts": taken.attempts}


async def _learn(rt: Runtime, group: Learns, taken: Taken) -> Learnt:
    """Raises `_Lost` as soon as the lease is found to be another's."""
    learning = asyncio.ensure_future(group.learn(rt, taken.clip))
    renewing = asyncio.ensure_future(_renew_until_lost(rt, taken))
    try:
        async with asyncio.timeout(rt.settings.timings.work_limit):
            await asyncio.wait((learning, renewing), return_when=asyncio.FIRST_COMPLETED)
        if not learning.done():
            await renewing  # a fault in it is one here too
            raise _Lost
        if learning.cancelled():
            raise RuntimeError("what was to be learnt was cancelled, but not from here")
        return learning.result()
    finally:
        await end(learning, renewing)


async def _renew_until_lost(rt: Runtime, taken: Taken) -> None:
    lease = rt.settings.timings.work_lease
    pause = lease / 3
    while True:
        await asyncio.sleep(pause)
        try:
            async with rt.begin() as connection:
                if not await works.renew(connection, taken, lease_seconds=lease):
                    return
            pause = lease / 3
        except Unavailable:
            # No other process can take it over while the database is away.
            pause = lease / 10


async def _to_the_end(rt: Runtime, writing: Coroutine[Any, Any, T]) -> T:
    """A write that has begun ends, if it can within the time that there is when the process stops."""
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=rt.settings.timings.work_give_back)
        await end(task)
        raise


async def _write(rt: Runtime, group: Learns, taken: Taken, learnt: Learnt) -> str:
    try:
        released = await _until_written(rt, partial(_write_once, rt, group, taken, learnt))
    except BaseException:
        await learnt.drop(rt)
        raise
    if released is None:
        await learnt.drop(rt)
        return "dropped"
    await delete_blobs(rt, *released)
    return "done"


async def _write_once(rt: Runtime, group: Learns, taken: Taken, learnt: Learnt) -> tuple[str, ...] | None:
    """The keys of blobs that may be removed. None when the clip has got other bytes: then the works wait
    again. Raises `_Lost` when another process has the works."""
    async with rt.begin() as connection:
        clip = await clips.get(connection, taken.clip.id, lock=True, trashed=True)
        if clip is None or not await works.finish(connection, taken, version=group.version):
            raise _Lost
        if clip.sha256 != taken.clip.sha256:
            # A replacement of bytes makes the works wait again; this is for changes that bypass Mosic.
            await works.repeat(connection, clip.id, taken.kinds)
            return None
        return tuple(await learnt.write(connection))


async def _note_failure(rt: Runtime, taken: Taken, error: Exception) -> str:
    final = isinstance(error, WorkFailed)
    if isinstance(error, WorkFailed | MosicError):
        code, detail = error.code, error.detail
    elif isinstance(error, TimeoutError):
        code, detail = "work-timeout", "It took too long."
    else:
        code, detail = "internal-error", "An unexpected error; the log of the service has it."
    async with rt.begin() as connection:
        state = await works.fail(
            connection,
            taken,
            code=code,
            detail=detail,
            most_attempts=0 if final else MOST_ATTEMPTS,
            pause_seconds=pause_after(taken.attempts, rt.settings.timings),
        )
    if state is None:
        return "dropped"
    unexpected = error if code == "internal-error" else None
    _log.warning("a work failed", **_about(taken), code=code, detail=detail, state=state, exc_info=unexpected)
    return "failed" if state == "failed" else "retried"


async def _give_back(rt: Runtime, taken: Taken, pause_seconds: float) -> None:
    async with rt.begin() as connection:
        await works.give_back(connection, taken, pause_seconds=pause_seconds)


async def _give_back_at_the_end(rt: Runtime, taken: Taken) -> None:
    """If that does not succeed, the lease runs out."""
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(rt.settings.timings.work_give_back):
            await _give_back(rt, taken, 0)
            rt.works.made()


async def _until_written(rt: Runtime, write: Callable[[], Awaitable[T]]) -> T:
    """Once the database is there (again). What is written counts only if the works are still ours then, so
    that a transaction whose commit was not seen is safely tried again."""
    pause = 0.1
    while True:
        try:
            return await write()
        except Unavailable:
            await asyncio.sleep(pause)
            pause = min(2 * pause, rt.settings.timings.work_poll)
