"""Who presented wrong keys of late: a bounded table by address."""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

FREE = 10
"""Wrong keys that an address may present at once, as people do who mistype or have an old one."""

# What one wrong key costs.
_WAIT_SECONDS = 6
# Longer waits would punish an honest program for what it did long ago.
_MOST_SECONDS = 60.0
_MOST_ADDRESSES = 10_000


class Failures:
    """Counts wrong keys, and says how long the next had better wait.

    Each costs `_WAIT_SECONDS`, of which `FREE` are lent (a leaky bucket, as a single time: until when all is
    paid back). One entry for each IPv4 address and each IPv6 network of 64 bits, which is what one customer
    gets. When there are too many, whoever failed the longest ago is forgotten.
    """

    def __init__(self, *, most: int = _MOST_ADDRESSES) -> None:
        self._most = most
        self._paid_by: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid_by)

    def add(self, address: str | None, now: float) -> int:
        """One more wrong key from there, at `now` (seconds of a clock that never goes back).

        Returns for how many seconds that address had better be quiet: 0 while it has some free, and more with
        each that it does not wait for, up to a minute.
        """
        who = _household(address)
        paid_by = max(self._paid_by.pop(who, now), now) + _WAIT_SECONDS
        over = paid_by - now - FREE * _WAIT_SECONDS
        self._paid_by[who] = min(paid_by, now + FREE * _WAIT_SECONDS + _MOST_SECONDS)
        while len(self._paid_by) > self._most:
            self._paid_by.popitem(last=False)
        return math.ceil(min(over, _MOST_SECONDS)) if over > 0 else 0


def _household(address: str | None) -> str:
    """What counts as one address: those that one customer has are many."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> 64 << 64))
