"""Whoever waits for an answer, in tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.upstream import AnswerHead, Failure, Origin, Pool, UpstreamConnection
from tests.gateway.conftest import Upstream


class Sink:
    """Notes what came."""

    def __init__(self) -> None:
        self.head: AnswerHead | None = None
        self.body = b""
        self.ended = 0
        self.failure: Failure | None = None
        self.unsent = 0
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

    def not_sent(self) -> None:
        self.unsent += 1

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
        assert self.sent.endswith(request)

    @property
    def reusable(self) -> bool:
        assert bool(self.released) is not self.closed, "either given back or closed"
        return bool(self.released)


@pytest.fixture
def asked() -> Asked:
    return Asked()


class Dialled:
    """Stands for `dial`: each call waits for the test to answer, fail or refuse it."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[None]] = []
        self.wires: list[Upstream] = []
        self.at_once = True

    async def __call__(
        self,
        origin: Origin,
        seconds: float,
        outbox: Outbox,
        closed: Callable[[UpstreamConnection], None],
    ) -> UpstreamConnection:
        call = asyncio.get_running_loop().create_future()
        self.calls.append(call)
        if self.at_once:
            call.set_result(None)
        await call
        self.wires.append(Upstream(closed))
        return self.wires[-1].connection

    def succeed(self) -> None:
        next(call for call in self.calls if not call.done()).set_result(None)

    def fail(self, error: Exception) -> None:
        next(call for call in self.calls if not call.done()).set_exception(error)


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Dialled:
    dialled = Dialled()
    monkeypatch.setattr("nanogpt_proxy.gateway.upstream.pool.dial", dialled)
    return dialled


ORIGIN = Origin(host="127.0.0.1", port=9, path=b"/api/v1", tls=None)


def make_pool(**changed: Any) -> Pool:
    values: dict[str, Any] = {"limit": 10, "idle_seconds": 30, "connect_timeout": 10}
    return Pool(ORIGIN, **(values | changed))


@pytest.fixture
async def pool(dialled: Dialled) -> AsyncIterator[Pool]:
    pool = make_pool()
    yield pool
    await pool.close()
    await asyncio.sleep(0)
