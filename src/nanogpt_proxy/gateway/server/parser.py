"""Bytes of a client become requests, and what the parser swallows in silence is bounded."""

from __future__ import annotations

from collections import deque

import httptools

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.framing import ChunkExtras, after_head
from nanogpt_proxy.gateway.server.request import (
    HEAD_LIMIT,
    Request,
    bad_request,
    head_too_large,
    no_upgrade,
)

PIPELINED = 16
"""Further requests that are held while one is served."""


class RequestParser:
    """Feeds llhttp; `queue` holds requests in the order in which they began.

    llhttp announces a head before it rejects what the head says, so a request of the queue is to
    be looked at only after `feed` has returned: then `refusal` tells whether it is really good.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Request | None = None
        self._begun = 0
        self._head_fed = 0
        self._last_three = b""
        self._extras: ChunkExtras | None = None
        self.queue: deque[Request] = deque()
        self.deaf = False
        """Nothing more is parsed: the last request of the queue is the last of the connection."""

    def feed(self, data: bytes | memoryview) -> None:
        before, extras = self._incoming, self._extras
        self._begun = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse_upgrade()
        except httptools.HttpParserError:
            self.spoil(bad_request("The request is not well-formed HTTP/1.1."))
        else:
            request = self._incoming
            if request is not None and not request.complete:
                self._bound(request, data, before, extras)

    def spoil(self, refusal: Refusal) -> None:
        """Refuses the request that is just coming in; nothing after it is read."""
        if self.deaf:
            return
        self.deaf = True
        request = self._incoming
        if request is None or request.complete:
            self.queue.append(Request(refusal))
        else:
            request.refusal = refusal

    def held(self) -> int:
        """Bytes that are kept for requests of the queue, an unfinished head included."""
        kept = sum(request.size + sum(map(len, request.chunks)) for request in self.queue)
        return kept + self._head_fed

    def _refuse_upgrade(self) -> None:
        self.deaf = True
        if self._incoming is not None:
            self._incoming.refusal = no_upgrade()

    def _bound(
        self,
        request: Request,
        data: bytes | memoryview,
        before: Request | None,
        extras: ChunkExtras | None,
    ) -> None:
        """Bounds an unfinished head, and chunk extensions and trailers."""
        if not request.head_done:
            self._last_three = (self._last_three + bytes(data[-3:]))[-3:]
            if request is before:
                self._head_fed += len(data)
                if self._head_fed > HEAD_LIMIT:
                    self.spoil(head_too_large())
        elif self._extras is not None:
            if extras is self._extras:
                self._extras.fed(len(data))
            elif self._begun == 0 or (self._begun == 1 and (before is None or before.complete)):
                self._extras.fed(after_head(self._last_three, data))
            if self._extras.too_many():
                self.spoil(bad_request("Chunk extensions and trailers are longer than 16 KiB."))

    # What the parser tells. The names are httptools'.

    def on_message_begin(self) -> None:
        self._head_fed = 0
        self._last_three = b""
        self._extras = None
        if self.deaf or len(self.queue) >= PIPELINED:
            self.deaf = True
            self._incoming = None
            return
        self._begun += 1
        self._incoming = Request()
        self.queue.append(self._incoming)

    def on_url(self, url: bytes) -> None:
        request = self._incoming
        if request is not None:
            request.target += url
            request.size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._incoming
        if request is not None and not request.head_done:  # else it is a trailer
            request.headers.append((name, value))
            request.size += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        request, parser = self._incoming, self._parser
        if request is None:
            return
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        request.judge()
        request.head_done = True
        self._head_fed = 0
        if request.chunked:
            self._extras = ChunkExtras()

    def on_body(self, data: bytes) -> None:
        request = self._incoming
        if request is None:
            return
        request.received += len(data)
        if self._extras is not None:
            self._extras.data(len(data))
        if not request.dropped:
            request.chunks.append(data)

    def on_chunk_header(self) -> None:
        if self._extras is not None:
            self._extras.chunk()

    def on_message_complete(self) -> None:
        if self._incoming is not None:
            self._incoming.complete = True
