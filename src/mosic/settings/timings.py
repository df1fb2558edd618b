"""Time limits that are no setting: no operator has a reason to change them, but tests wait for less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """All in seconds."""

    head: float = 30.0
    """How long the head of a request may take, from the connection or from its first byte on. uvicorn has no
    limit: slow clients on many connections could use up all descriptors."""
    drain: float = 5.0
    """How long the rest of a body is read and dropped once its request is answered."""
    linger: float = 2.0
    """How long a client that takes nothing more may go on sending before its connection is closed. What it
    sends then is answered by a reset, at which it may lose the response (RFC 9112 §9.6)."""

    key_file_check: float = 1.0
    """How often Mosic looks whether the key file has changed."""

    writer_check: float = 0.2
    """How often a process looks whether its writers were replaced, and writes out what they have gathered."""
    writer_silence: float = 0.5
    """A writer whose upload has not grown for so long is taken for dead. Longer than `writer_check`."""
    writer_stop: float = 1.0
    """How long a writer that was replaced may take to notice and to stop."""
    writer_end: float = 0.3
    """How long a request for the state of an upload waits for a writer whose connection may be gone. Longer
    than `writer_check`."""
    clip_wait: float = 5.0
    """How long another process may take to make the clip of a whole upload before this one does it too."""
    upload_poll: float = 0.05
    """How often a request that waits for any of these looks again."""

    work_lease: float = 30.0
    """After so long without a sign of its owner, another process takes a work."""
    work_poll: float = 5.0
    """How often a process polls for works of which it got no notification, and for owners that have ended."""
    work_tell: float = 1.0
    """Other processes are notified of new works at most this often."""
    work_pause: float = 10.0
    """Before the second attempt at a work; each further one waits for six times as long."""
    work_longest_pause: float = 3600.0
    """No attempt waits for longer."""
    work_limit: float = 3600.0
    """An attempt that takes longer has failed."""
    work_give_back: float = 3.0
    """How long a process that stops may take to give back what it has not finished."""
