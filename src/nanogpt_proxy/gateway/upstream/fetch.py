"""A whole answer at once, for calls of our own."""

from __future__ import annotations

import asyncio

from nanogpt_proxy.gateway.headers import RawHeaders, anonymous
from nanogpt_proxy.gateway.upstream.answer import AnswerHead
from nanogpt_proxy.gateway.upstream.connection import Failure, UpstreamConnection
from nanogpt_proxy.gateway.upstream.pool import Pool


class FetchFailed(Exception):
    """There was no usable answer."""


class _Fetch:
    """Collects one answer."""

    def __init__(self, pool: Pool, head: bytes, limit: int) -> None:
        self._pool = pool
        self._head = head
        self._limit = limit
        self._status = 0
        self._headers: RawHeaders = []
        self._body: list[bytes] = []
        self._size = 0
        self._connection: UpstreamConnection | None = None
        self._done: asyncio.Future[tuple[int, RawHeaders, bytes]] = (
            asyncio.get_running_loop().create_future()
        )

    async def run(self) -> tuple[int, RawHeaders, bytes]:
        connection = self._pool.acquire(self)
        if connection is not None:
            self.upstream_ready(connection)
        try:
            return await self._done
        finally:
            self._pool.forget(self)
            if self._connection is not None:
                self._connection.drop()

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.begin(self, self._head, whole=True, release=self._pool.release)

    def upstream_failed(self, failure: Failure) -> None:
        self.answer_failed(failure)

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        if ended:
            self._connection = None
        if head is not None:
            self._status, self._headers = head.status, head.headers
        self._body += chunks
        self._size += sum(map(len, chunks))
        if self._done.done():
            return
        if self._size > self._limit:
            self._done.set_exception(FetchFailed("the answer is too long"))
        elif ended:
            self._done.set_result((self._status, self._headers, b"".join(self._body)))

    def answer_failed(self, failure: Failure) -> None:
        self._connection = None
        if not self._done.done():
            self._done.set_exception(FetchFailed(failure.value))

    def not_sent(self) -> None:
        self.answer_failed(Failure.CLOSED)

    def upstream_full(self) -> None:
        """A request of a few lines does not fill the connection."""

    def upstream_drained(self) -> None: ...


async def fetch(pool: Pool, target: bytes, *, limit: int) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body of a GET without a key; raises `FetchFailed`.

    `target` goes behind `UPSTREAM_URL`; a body longer than `limit` bytes is a failure.
    """
    origin = pool.origin
    head = (
        (b"GET " + origin.path + target + b" HTTP/1.1\r\nhost: " + origin.authority + b"\r\n")
        + anonymous()
        + b"\r\n"
    )
    return await _Fetch(pool, head, limit).run()
