"""The states of a connection."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What a connection expects next from its client. Whether a response is being made is another matter: a
    client may send requests ahead."""

    IDLE = 1
    """Nothing of a next request has come, other than empty lines."""

    READING_HEAD = 2
    """A head has begun."""

    READING_BODY = 3
    """The head is complete, the body or what frames it is not."""

    UPGRADING = 4
    """The same, of a request that asks for another protocol: a new parser is about to read its body."""

    BODY_LENT = 5
    """The same, and another protocol receives the body."""

    READ_ALL = 6
    """The last request has come. What follows it is dropped, and its response closes the connection."""

    REFUSING = 7
    """What came is no request to be answered. Earlier responses are sent, then the refusal."""

    LINGERING = 8
    """Nothing more is sent. What comes is dropped until the client closes, or has had its time."""


# By name, since a member of an enum takes a hundred nanoseconds to find in its class (Python 3.11).
IDLE, READING_HEAD, READING_BODY, UPGRADING, BODY_LENT, READ_ALL, REFUSING, LINGERING = State

IN_BODY = (READING_BODY, UPGRADING, BODY_LENT)
DROPPING = (READ_ALL, REFUSING, LINGERING)
