"""Wrong keys slow down the address that they come from, in bounded memory."""

from __future__ import annotations

import tracemalloc
from ipaddress import IPv6Address

import pytest

from mosic.keys.failures import FREE, Failures


def test_the_first_are_free_and_then_waiting_grows_up_to_a_minute() -> None:
    failures = Failures()
    waits = [failures.add("192.0.2.1", 100.0) for _ in range(FREE + 30)]
    assert waits[:FREE] == [0] * FREE
    assert 0 < waits[FREE] <= 6
    assert waits[FREE:] == sorted(waits[FREE:])
    assert max(waits) == 60


def test_who_waits_as_told_may_try_again() -> None:
    failures = Failures()
    wait = max(failures.add("192.0.2.1", 0.0) for _ in range(1000))
    assert failures.add("192.0.2.1", wait - 10.0) > 0
    now = 0.0
    for _ in range(100):
        now += failures.add("192.0.2.1", now) + 6
        assert failures.add("192.0.2.1", now) <= 60
    assert failures.add("192.0.2.1", now + 200) == 0


def test_after_two_quiet_minutes_all_is_forgotten() -> None:
    failures = Failures()
    for _ in range(1000):
        failures.add("192.0.2.1", 0.0)
    assert [failures.add("192.0.2.1", 130.0) for _ in range(FREE)] == [0] * FREE


def test_others_are_not_slowed() -> None:
    failures = Failures()
    for _ in range(100):
        failures.add("192.0.2.1", 0.0)
    assert failures.add("192.0.2.2", 0.0) == 0
    assert failures.add("2001:db8::1", 0.0) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("192.0.2.1", "192.0.2.129", False),
        (None, "unknown", True),
    ],
)
def test_what_counts_as_one_address(one: str | None, other: str, same: bool) -> None:
    failures = Failures()
    for _ in range(100):
        failures.add(one, 0.0)
    assert (failures.add(other, 0.0) > 0) is same


def test_many_addresses_take_bounded_memory_and_the_busiest_are_kept() -> None:
    failures = Failures(most=1000)
    base = int(IPv6Address("2001:db8::"))
    wait = 0
    tracemalloc.start()
    for number in range(20_000):
        failures.add(str(IPv6Address(base + (number << 64))), number / 1000)
        if number % 100 == 0:
            wait = failures.add("192.0.2.1", number / 1000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(failures) == 1000
    assert taken < 1_000_000
    assert wait == 60
