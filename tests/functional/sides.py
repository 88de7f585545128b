"""A request as it is sent to two proxies, and what must come of it on both sides."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass

from standin.process import Json, StandIn
from tests.functional.running import ALICE, User
from tests.functional.wire import LAST_CHUNK, Answer, Wire, chunk, head_of

NUMBER = re.compile(r"standin_\d+")
"""Every request has its own number, and so has every answer."""
COMPARED = frozenset({
    "content-type", "content-disposition", "content-encoding", "content-language",
    "content-range", "accept-ranges", "etag", "last-modified", "expires", "vary", "retry-after",
    "www-authenticate", "x-request-id", "x-cost", "x-remaining-balance", "x-nanogpt-advisor-id",
    "x-ratelimit-remaining",
})  # fmt: skip
FRAMING = frozenset({"content-length", "transfer-encoding"})
SENT_UP = ("accept", "accept-encoding", "authorization", "content-type")


@dataclass(frozen=True)
class Call:
    """A request, the same for both; with `pieces` its body is chunked, each so long."""

    target: str
    body: bytes | None = None
    method: str = "POST"
    kind: str | None = "application/json"
    user: User = ALICE
    pieces: int = 0

    def head(self, *more: tuple[str, str]) -> bytes:
        framing = []
        if self.body is not None:
            length = ("Content-Length", str(len(self.body)))
            framing.append(("Transfer-Encoding", "chunked") if self.pieces else length)
        accept = ("Accept", "application/json, text/event-stream")
        headers = self.user.headers(accept, *framing, *more, kind=self.kind)
        return head_of(self.method, self.target, headers)

    def framed(self) -> bytes:
        body, size = self.body or b"", self.pieces
        if not size:
            return body
        return b"".join(chunk(body[i : i + size]) for i in range(0, len(body), size)) + LAST_CHUNK


@dataclass(frozen=True)
class Told:
    """What the client and NanoGPT were told, as far as it must be the same on both sides."""

    status: int
    headers: list[tuple[str, str]]
    framing: frozenset[str]
    body: bytes
    method: str
    path: str
    query: str
    sent_up: list[tuple[str, str]]
    key: str
    received: tuple[int, str]
    parts: list[Json]


class Side:
    """One of the two, with a connection to it."""

    def __init__(self, nano: StandIn, line: Wire) -> None:
        self._nano = nano
        self.line = line

    def tell(self, call: Call) -> Told:
        since = self._nano.state()["last"]
        self.line.send(call.head() + call.framed())
        return self.told(call, since)

    def told(self, call: Call, since: int) -> Told:
        answer = self.line.answer(call.method)
        (seen,) = self._nano.requests(since)
        assert seen["body"]["complete"]
        up = sorted((name.lower(), value) for name, value in seen["headers"])
        return Told(
            status=answer.status,
            headers=sorted((k, same(v)) for k, v in answer.headers if k in COMPARED),
            framing=frozenset(() if is_stream(answer) else answer.names & FRAMING),
            body=brief(answer.body),
            method=seen["method"],
            path=same(seen["path"]),
            query=seen["query"],
            sent_up=[pair for pair in up if pair[0] in SENT_UP],
            key=seen["key"] or "",
            received=(seen["body"]["length"], seen["body"]["sha256"]),
            parts=seen["parts"],
        )

    def is_open(self) -> bool:
        """Whether the next request on the connection gets its own answer."""
        return self.line.ask("GET", "/health/live").status == 200


def is_stream(answer: Answer) -> bool:
    return (answer.get("content-type") or "").startswith("text/event-stream")


def same(text: str) -> str:
    return NUMBER.sub("standin_N", text)


def brief(body: bytes) -> bytes:
    """The body without what differs rightly; of a long one the digest."""
    if body[:2] == b"\x1f\x8b":
        body = zlib.decompress(body, 31)
    body = same(body.decode("latin-1")).encode("latin-1")
    return body if len(body) < 64 * 1024 else hashlib.sha256(body).digest()
