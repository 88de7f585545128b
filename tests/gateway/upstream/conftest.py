"""Whoever waits for an answer, in tests."""

from __future__ import annotations

import pytest

from nanogpt_proxy.gateway.upstream import AnswerHead, Failure, UpstreamConnection
from tests.gateway.conftest import Upstream


class Sink:
    """Notes what came."""

    def __init__(self) -> None:
        self.head: AnswerHead | None = None
        self.body = b""
        self.ended = 0
        self.failure: Failure | None = None
        self.flow: list[str] = []
        self.after_the_end = False

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        self.after_the_end |= bool(self.ended or self.failure)
        if head is not None:
            assert self.head is None
            self.head = head
        assert self.head is not None, "a head comes first"
        self.body += b"".join(chunks)
        self.ended += ended

    def answer_failed(self, failure: Failure) -> None:
        self.after_the_end |= bool(self.ended or self.failure)
        self.failure = failure

    def upstream_full(self) -> None:
        self.flow.append("full")

    def upstream_drained(self) -> None:
        self.flow.append("drained")


class Asked(Upstream):
    """A connection on which a request went up."""

    def __init__(self, *, whole: bool = True) -> None:
        super().__init__()
        self.sink = Sink()
        self.released: list[UpstreamConnection] = []
        self.ask(self.sink, whole=whole)

    def ask(self, sink: Sink, *, whole: bool = True) -> None:
        self.sink = sink
        request = b"GET / HTTP/1.1\r\n\r\n"
        self.connection.begin(sink, request, whole=whole, release=self.released.append)

    @property
    def reusable(self) -> bool:
        assert bool(self.released) is not self.closed, "either given back or closed"
        return bool(self.released)


@pytest.fixture
def asked() -> Asked:
    return Asked()
