"""An answer as a value: what NanoGPT would say, before a scenario decides how it is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from standin.recorder import Json

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body. Of a stream each piece is one event, else they just join.

    `sized` says that the length is announced. `ending` counts the last pieces that end a stream:
    the finish event and, where the protocol has one, the terminal marker.
    """

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    sse: bool = False
    sized: bool = True
    ending: int = 0

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def with_pieces(self, pieces: Sequence[bytes]) -> Answer:
        return replace(self, pieces=tuple(pieces))

    def with_headers(self, *more: tuple[str, str]) -> Answer:
        return replace(self, headers=(*self.headers, *more))


def json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_answer(
    value: object, *, status: int = 200, headers: Sequence[tuple[str, str]] = ()
) -> Answer:
    kind = ("Content-Type", "application/json")
    return Answer(status, (kind, *headers), (json_bytes(value),))


def sse_answer(events: Sequence[bytes], *, ending: int) -> Answer:
    headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
    return Answer(200, headers, tuple(events), sse=True, sized=False, ending=ending)


def data_event(value: object) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def named_event(name: str, value: Json) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
