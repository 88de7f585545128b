"""Bytes of a client become requests, and what the parser swallows in silence is bounded."""

from __future__ import annotations

from collections import deque

import httptools

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.framing import ChunkExtras, after_head
from nanogpt_proxy.gateway.headers import DROPPED, NAMES, Names, RawHeaders
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

    def __init__(self, names: Names = NAMES) -> None:
        self._names = names
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Request | None = None
        self._headers: RawHeaders = DROPPED
        self._begun = 0
        self._last_three = b""
        self._extras: ChunkExtras | None = None
        self.queue: deque[Request] = deque()
        self.deaf = False
        """Nothing more is parsed: the last request of the queue is the last of the connection."""

    def feed(self, data: bytes | memoryview) -> None:
        before, extras, last_three = self._incoming, self._extras, self._last_three
        in_head = before is not None and not before.head_done
        fresh = before is None or before.complete
        self._begun = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse_upgrade()
            return
        except httptools.HttpParserError:
            self.spoil(bad_request("The request is not well-formed HTTP/1.1."))
            return
        request = self._incoming
        if in_head and before is not None:
            self._grow(before, data, last_three)
        if request is None:
            return
        if not request.head_done:
            if request is not before:
                self._last_three = bytes(data[-3:])
                request.size = len(data) if fresh and self._begun == 1 else 0
        elif self._extras is not None:
            if extras is self._extras:
                self._extras.fed(len(data))
            elif self._begun == 0 or (fresh and self._begun == 1):
                self._extras.fed(after_head(last_three, data))
            if self._extras.too_many():
                self.deaf = True
                request.refusal = bad_request(
                    "Chunk extensions and trailers are longer than 16 KiB."
                )

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
        kept = 0
        for request in self.queue:
            head = sum(len(name) + len(value) for name, value in request.headers)
            kept += max(head, request.size) + sum(map(len, request.chunks))
        return kept

    def _refuse_upgrade(self) -> None:
        self.deaf = True
        if self._incoming is not None:
            self._incoming.refusal = no_upgrade()

    def _grow(self, request: Request, data: bytes | memoryview, last_three: bytes) -> None:
        """Counts a head that comes in several pieces; one piece is below the limit by itself."""
        request.size += len(data)
        if request.head_done:
            request.size -= after_head(last_three, data)
        else:
            self._last_three = (last_three + bytes(data[-3:]))[-3:]
        if request.size > HEAD_LIMIT:
            if request is self._incoming:
                self.spoil(head_too_large())
            request.refusal = request.refusal or head_too_large()

    # What the parser tells. The names are httptools'.

    def on_message_begin(self) -> None:
        self._last_three = b""
        self._extras = None
        if self.deaf or len(self.queue) >= PIPELINED:
            self.deaf = True
            self._incoming = None
            self._headers = DROPPED
            return
        self._begun += 1
        self._incoming = request = Request()
        self._headers = request.headers
        self.queue.append(request)

    def on_url(self, url: bytes) -> None:
        if self._incoming is not None:
            self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        request, parser = self._incoming, self._parser
        if request is None:
            return
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        request.judge(self._names)
        request.head_done = True
        self._headers = DROPPED  # what comes now are trailers
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
