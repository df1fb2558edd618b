"""No sender keeps others waiting for a probe, whatever it sends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from mosic.audio.info import AudioInfo
from mosic.errors import UnreadableMedia
from tests.audio.pools import pool


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_slow_files_of_one_sender_hold_up_nobody_else(song: Path, endless: Path, workers: int) -> None:
    async with pool(workers=workers, seconds=60) as probes:
        slow = [asyncio.ensure_future(probes.probe(endless, "one")) for _ in range(8)]
        await asyncio.sleep(0.1)
        # The time that a probe may take is not waited for, not even once.
        async with asyncio.timeout(40):
            assert (await probes.probe(song, "two")).title == "Song"
            if workers > 1:
                for _ in range(5):
                    assert (await probes.probe(song, "three")).title == "Song"
        assert not any(call.done() for call in slow)
        for call in slow:
            call.cancel()


async def test_a_file_that_was_put_off_is_judged_in_the_end(song: Path, endless: Path) -> None:
    outcomes: list[str] = []
    async with pool(seconds=8, on_outcome=lambda outcome, _: outcomes.append(outcome)) as probes:
        slow = asyncio.ensure_future(probes.probe(endless, "one"))
        await asyncio.sleep(0.1)
        assert (await probes.probe(song, "two")).title == "Song"
        assert not slow.done()
        with pytest.raises(UnreadableMedia, match="too long"):
            await slow
    assert outcomes == ["ok", "timeout"]


async def test_senders_take_turns(song: Path, endless: Path) -> None:
    order: list[str] = []

    async def one(sender: str) -> AudioInfo:
        found = await probes.probe(song, sender)
        order.append(sender)
        return found

    async with pool(seconds=3) as probes:
        first = asyncio.ensure_future(probes.probe(endless, "z"))  # the others come while this one runs
        await asyncio.sleep(0.1)
        calls = [asyncio.ensure_future(one(sender)) for sender in "aaaabbc"]
        await asyncio.gather(*calls)
        with suppress(UnreadableMedia):
            await first
    assert order == list("abcabaa")


async def test_a_sender_alone_has_all_processes(song: Path, endless: Path) -> None:
    async with pool(workers=2, seconds=60) as probes:
        slow = asyncio.ensure_future(probes.probe(endless, "one"))
        assert (await probes.probe(song, "one")).title == "Song"
        slow.cancel()
