"""What of a representation a response has: RFC 9110 §13 and §14, settled before a byte is read."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Protocol

from mosic.core.delivery import Headers
from mosic.errors import PreconditionFailed, RangeNotSatisfiable
from mosic.wire import byteranges
from mosic.wire.byteranges import ByteRanges
from mosic.wire.conditions import Validators, Verdict, evaluate, if_range_holds
from mosic.wire.ranges import Unsliced, resolve
from mosic.wire.retrieval import Retrieval


class Retrieved(Protocol):
    """What is the same in every response about a representation."""

    @property
    def size(self) -> int: ...

    @property
    def media_type(self) -> bytes: ...

    @property
    def validators(self) -> Validators: ...

    @property
    def whole(self) -> Headers:
        """Of a 200."""
        ...

    @property
    def part(self) -> Headers:
        """Of a 206, without Content-Type, Content-Length and Content-Range."""
        ...

    @property
    def part_to_if_range(self) -> Headers:
        """The same for a client that has sent If-Range."""
        ...

    @property
    def unchanged(self) -> Headers:
        """Of a 304."""
        ...


@dataclass(slots=True)
class Answer:
    """What to send of a blob: `start` up to `stop`, or the parts of `framed`, of which those two then are the
    earliest. Without bytes both are 0."""

    status: int
    headers: Headers
    start: int = 0
    stop: int = 0
    framed: ByteRanges | None = None


NOTHING = Answer(0, ())


def respond(facts: Retrieved, asked: Retrieval) -> Answer:
    ranges, common = asked.ranges, facts.part
    if asked.preconditions is not None:
        verdict = evaluate(asked.method, asked.preconditions, facts.validators)
        if verdict is Verdict.NOT_MODIFIED:
            return Answer(304, facts.unchanged)
        if verdict is Verdict.PRECONDITION_FAILED:
            raise PreconditionFailed
        if asked.preconditions.if_range is not None:
            # Who asks with If-Range has the other fields (§15.3.7).
            common = facts.part_to_if_range
            if not if_range_holds(asked.preconditions, facts.validators):
                ranges = None
    if asked.method == "HEAD":
        return Answer(200, facts.whole)
    if ranges is None:
        return Answer(200, facts.whole, 0, facts.size)
    slices = resolve(ranges, facts.size)
    if slices is Unsliced.UNSATISFIABLE:
        raise RangeNotSatisfiable(facts.size)
    if slices is Unsliced.WHOLE:
        return Answer(200, facts.whole, 0, facts.size)
    if len(slices) == 1:
        only = slices[0]
        headers: Headers = (
            *common,
            (b"content-type", facts.media_type),
            (b"content-length", b"%d" % (only.stop - only.start)),
            (b"content-range", only.content_range(facts.size)),
        )
        return Answer(206, headers, only.start, only.stop)
    framed = byteranges.frame(slices, facts.size, facts.media_type.decode("ascii"), secrets.token_hex(16))
    headers = (
        *common,
        (b"content-type", framed.content_type.encode("ascii")),
        (b"content-length", b"%d" % framed.length),
    )
    earliest = min(slices, key=lambda one: one.start)
    return Answer(206, headers, earliest.start, earliest.stop, framed)
