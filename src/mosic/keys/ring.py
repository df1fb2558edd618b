"""The valid keys, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from mosic.wire.apikeys import NamedKey

# NIST SP 800-63B §5.1.2.2: a plain hash will do for secrets of 112 bits and more. As many have 20 random
# letters and digits; words have far less.
_STRONG = 20


class KeyRing:
    """Which key is whose. `replace` changes all at once, between two requests."""

    def __init__(self, keys: Iterable[NamedKey] = ()) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[NamedKey]) -> None:
        """From now on these are valid, and no others. Of two names for one key the first counts."""
        holders: dict[bytes, str] = {}
        weak: list[str] = []
        for key in keys:
            holders.setdefault(hashlib.sha256(key.api_key.encode("ascii")).digest(), key.name)
            if len(key.api_key) < _STRONG:
                weak.append(key.name)
        self._holders = tuple(holders.items())
        self.names = tuple(sorted(set(holders.values())))
        self.weak_names = tuple(sorted(set(weak)))
        """Those whose key is so short that it may be guessed."""

    def holder(self, presented: bytes) -> str | None:
        """The name of the key; None when it is not valid.

        All are compared, each in constant time: the time taken tells nothing about which came close.
        """
        digest = hashlib.sha256(presented).digest()
        holder: str | None = None
        for known, name in self._holders:
            if hmac.compare_digest(digest, known):
                holder = name
        return holder
