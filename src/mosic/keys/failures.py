"""Which IP addresses sent wrong keys recently: a table of limited size."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

FREE = 10
"""Wrong keys that an IP address may send without a wait, for people who mistype or have an old key."""

# What one wrong key costs.
_WAIT_SECONDS = 6
# Longer waits would punish a program for mistakes of long ago.
_MOST_SECONDS = 60.0
_MOST_ADDRESSES = 10_000


class Failures:
    """Counts wrong keys, and says how long the client should wait before the next.

    Each costs `_WAIT_SECONDS`, and `FREE` of them are allowed in advance (a leaky bucket, stored as one time:
    when it is empty again). One entry for each IPv4 address and each IPv6 network of 64 bits, which is what
    one customer gets. When the table is full, the oldest entry is dropped.
    """

    def __init__(self, *, most: int = _MOST_ADDRESSES) -> None:
        self._most = most
        self._paid_by: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_by)

    def add(self, address: str | None, now: float) -> int:
        """Count one more wrong key from there, at `now` (seconds of a monotonic clock).

        Returns how many seconds that client should wait: 0 while it has free ones left, and more with
        each that comes too early, up to a minute.
        """
        who = _network_of(address)
        paid_by = max(self._paid_by.pop(who, now), now) + _WAIT_SECONDS
        over = paid_by - now - FREE * _WAIT_SECONDS
        self._paid_by[who] = min(paid_by, now + FREE * _WAIT_SECONDS + _MOST_SECONDS)
        while len(self._paid_by) > self._most:
            self._paid_by.popitem(last=False)
        return math.ceil(min(over, _MOST_SECONDS)) if over > 0 else 0


def _network_of(address: str | None) -> str:
    """What counts as one client: an IPv6 customer has many addresses."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> 64 << 64))
