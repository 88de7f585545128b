"""What a connection expects of whoever serves a request."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from nanogpt_proxy.errors import Refusal


class Phase(Enum):
    """What a connection's deadline is for."""

    IDLE = "the next request"
    HEAD = "the rest of the head"
    DRAIN = "the rest of a body that nobody wants"
    LINGER = "the client to read the answer"
    BODY = "the next bytes of the body"
    UPSTREAM = "the upstream"


class Handler(Protocol):
    """Who serves a request: the connection tells it what the client does."""

    def start(self) -> None: ...

    def body_arrived(self) -> None:
        """There are new bytes in `request.chunks`, or it is complete."""

    def client_broke(self, refusal: Refusal) -> None:
        """The rest of the request cannot be read."""

    def client_gone(self) -> None: ...

    def client_full(self) -> None:
        """The client reads more slowly than the answer comes: stop writing."""

    def client_drained(self) -> None: ...

    def timed_out(self, phase: Phase) -> None:
        """What was expected in `BODY` or `UPSTREAM` did not come."""

    def shut_down(self) -> None:
        """The process stops now: end the answer as a failure."""
