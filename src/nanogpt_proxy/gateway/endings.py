"""How a stream ended, and what to say when it broke.

An SSE stream that breaks gets an error event in the route's own protocol, because a client
that has read the status line already learns of the failure nowhere else.
"""

from __future__ import annotations

import re

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.answers import anthropic_error, compact, openai_error
from nanogpt_proxy.gateway.routes import Dialect

_KEPT = 512
_MESSAGE_STOP = re.compile(rb'(?:^|[\r\n])event: ?message_stop[\r\n]|"type": ?"message_stop"')
_LINE_END = re.compile(rb"\r\n|\r|\n")
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)\Z")


class StreamTail:
    """The last bytes of a stream: enough to tell whether it is complete and where it was cut."""

    __slots__ = ("_dialect", "_tail")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._tail = b""

    def feed(self, data: bytes) -> None:
        self._tail = data[-_KEPT:] if len(data) >= _KEPT else (self._tail + data)[-_KEPT:]

    def complete(self) -> bool:
        """Whether the route's terminal marker was the last thing to come."""
        if self._dialect is Dialect.MESSAGES:
            return _MESSAGE_STOP.search(_last_event(self._tail)) is not None
        last_line = _LINE_END.split(self._tail.rstrip(b"\r\n"))[-1]
        return last_line in (b"data: [DONE]", b"data:[DONE]")

    def between_events(self) -> bool:
        return not self._tail or _EVENT_END.search(self._tail) is not None

    def broken_ending(self, refusal: Refusal) -> bytes:
        """What to write after a stream that broke here; nothing more if it was complete."""
        gap = b"" if self.between_events() else b"\n\n"
        if self.complete():
            return gap
        if gap and self._dialect is Dialect.MESSAGES:
            # The last name of an event counts, and a ping is skipped whatever it holds: so nobody
            # takes the half event for a broken one before the error is read.
            gap = b"\nevent: ping\n\n"
        return gap + error_event(refusal, self._dialect)


def _last_event(tail: bytes) -> bytes:
    events = re.split(rb"\r\n\r\n|\n\n|\r\r", tail.rstrip(b"\r\n"))
    return events[-1] + b"\n"


def error_event(refusal: Refusal, dialect: Dialect) -> bytes:
    """The error as the last event or events of a stream of this dialect."""
    if dialect is Dialect.MESSAGES:
        return b"event: error\ndata: " + compact(anthropic_error(refusal)) + b"\n\n"
    if dialect is Dialect.RESPONSES:
        event = {
            "type": "error",
            "code": refusal.code,
            "message": refusal.message,
            "param": None,
        }
        return b"event: error\ndata: " + compact(event) + b"\n\ndata: [DONE]\n\n"
    return b"data: " + compact(openai_error(refusal)) + b"\n\ndata: [DONE]\n\n"
