"""What a connection expects next from its client."""

from __future__ import annotations

from enum import Enum


class Reading(Enum):
    """The states of a connection, as far as it reads. Whether a response is being made is another matter."""

    REQUEST = 1
    """Nothing of a next request has come, other than empty lines."""

    HEAD = 2
    """A head has begun."""

    BODY = 3
    """The body, or what is left of it: framing, trailers."""

    UPGRADE = 4
    """The head of a request that asks for another protocol is complete; a fresh parser reads its body."""

    LENT_BODY = 5
    """The body, which another protocol receives."""

    NOTHING = 6
    """What comes is dropped: the connection ends after the responses that are due."""


# By name, since a member of an enum takes a hundred nanoseconds to find in its class (Python 3.11).
REQUEST, HEAD, BODY, UPGRADE, LENT_BODY, NOTHING = Reading
IN_BODY = (BODY, UPGRADE, LENT_BODY)
