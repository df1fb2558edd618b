"""The valid keys, stored as hashes only."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from mosic.wire.apikeys import NamedKey

# NIST SP 800-63B §5.1.2.2: a plain hash is enough for secrets of 112 bits and more. 20 random
# letters and digits have that many; words have far fewer.
_STRONG = 20


class KeyRing:
    """The name of each key. `replace` changes all at once, between two requests."""

    def __init__(self, keys: Iterable[NamedKey] = ()) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[NamedKey]) -> None:
        """Make these the only valid keys. If one key has two names, the first counts."""
        holders: dict[bytes, str] = {}
        weak: list[str] = []
        for key in keys:
            holders.setdefault(hashlib.sha256(key.api_key.encode("ascii")).digest(), key.name)
            if len(key.api_key) < _STRONG:
                weak.append(key.name)
        self._holders = tuple(holders.items())
        self.names = tuple(sorted(set(holders.values())))
        self.weak_names = tuple(sorted(set(weak)))
        """Names whose key is short enough to be guessed."""

    def holder(self, presented: bytes) -> str | None:
        """The name of the key; None when it is not valid.

        All are compared, each in constant time, so the time says nothing about which key is similar.
        """
        digest = hashlib.sha256(presented).digest()
        holder: str | None = None
        for known, name in self._holders:
            if hmac.compare_digest(digest, known):
                holder = name
        return holder
