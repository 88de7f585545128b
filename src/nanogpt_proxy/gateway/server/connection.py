"""Hop 1: one connection from a client. Bytes in, requests out, one exchange at a time."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Protocol, cast

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

if TYPE_CHECKING:
    from nanogpt_proxy.gateway.server import Server

_logger = logging.getLogger(__name__)

_SLICE = 64 * 1024  # what is parsed at one time, so that the bounds below are exact enough
_READ_AHEAD = 64 * 1024  # bytes of further requests that are held while one is served
_PIPELINED = 16  # further requests that are held while one is served
_KEEP_IF_DUE = 64 * 1024  # an unread body of at most this size is read to keep the connection
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 2.0
_FLUSH_SECONDS = 60.0  # how long a client may take to read the rest of its last answer


class Phase(Enum):
    """What the connection's deadline is for."""

    NONE = "nothing"
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

    def timed_out(self, phase: Phase) -> None: ...

    def shut_down(self) -> None:
        """The process stops now: end the answer as a failure."""


class ClientConnection(asyncio.Protocol):
    """Parses requests and serves them in order.

    A client whose request is complete is never paused: a paused transport of uvloop reports
    neither FIN nor RST, and its leaving would go unseen. What it sends ahead is held, a little.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set on connect
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Request | None = None
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._handler: Handler | None = None
        self._told_whole = False
        self._advancing = False
        self._deaf = False  # nothing more is parsed
        self._ending = False  # the last answer is written
        self._gone = False
        self._paused = False
        self._linger_left = _LINGER_BYTES
        self._head_fed = 0
        self._extras: ChunkExtras | None = None
        self._last_three = b""
        self._begun = 0
        self._phase = Phase.NONE
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _keep_alive(self._transport)
        refusal = self._server.joined(self)
        if refusal is not None:
            self._queue.append(Request(refusal))
            self._deaf = True
            self._advance()
        else:
            self.expect(Phase.IDLE, self._server.settings.keepalive_timeout)

    def data_received(self, data: bytes) -> None:
        try:
            if len(data) <= _SLICE:
                self._take(data)
                return
            view = memoryview(data)
            for start in range(0, len(data), _SLICE):
                self._take(view[start : start + _SLICE])
        except Exception:
            _logger.exception("a client connection failed")
            self.abort()

    def eof_received(self) -> None:
        """The end of the client's sending side means that it is gone."""
        self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._server.left(self)

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.client_full()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.client_drained()

    # What the handler may do.

    @property
    def gone(self) -> bool:
        return self._gone

    def write(self, data: bytes) -> None:
        if not self._gone:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Holds back an unfinished request."""
        request = self._current
        if self._open() and not self._paused and request is not None and not request.complete:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused and self._open():
            self._paused = False
            self._transport.resume_reading()

    def _open(self) -> bool:
        return not self._gone and not self._transport.is_closing()

    def keeps(self, request: Request) -> bool:
        """Whether the connection will take another request after the answer to this one."""
        if self._server.draining or not request.keep_alive or request.refusal is not None:
            return False
        if request.complete:
            return not (self._deaf and not self._queue)
        due = request.outstanding
        return due is not None and due <= _KEEP_IF_DUE and not request.expects_continue

    def finished(self, keep: bool) -> None:
        """The answer to the current request is written to its end."""
        request = self._current
        self._handler = None
        if request is None or self._gone:
            return
        if not keep:
            self._current = None
            self._end(linger=not request.complete or self._deaf)
            return
        if request.complete:
            self._current = None
        else:
            request.dropped = True
            request.chunks.clear()
            self.resume_reading()
            self.expect(Phase.DRAIN, self._server.settings.body_timeout)
        if not self._advancing:
            self._advance()

    def cut(self, *, reset: bool) -> None:
        """Ends the connection so that the client sees the answer is not complete.

        What was written is still sent, unless the end of the connection would look like the end
        of the answer: then `reset`.
        """
        self._handler = None
        self._current = None
        self._ending = True
        if self._gone:
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
            self.expect(Phase.LINGER, _FLUSH_SECONDS)

    def abort(self) -> None:
        self._ending = True
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Closes a connection without a request; one that is serving ends by itself."""
        if self._current is None and not self._queue and not self._ending:
            self._ending = True
            self._transport.close()

    def shut_down(self) -> None:
        """The process stops now."""
        if self._handler is not None:
            self._handler.shut_down()
        if not self._gone:
            self._transport.close()
            self.expect(Phase.LINGER, _LINGER_SECONDS)

    def expect(self, phase: Phase, seconds: float) -> None:
        """Sets the one deadline of this connection; the timer behind it is moved lazily."""
        if self._gone:
            return
        self._phase = phase
        self._deadline = when = self._loop.time() + seconds
        if self._timer is None or self._timer_at > when:
            self._arm(when)

    def expect_nothing(self) -> None:
        self._phase = Phase.NONE

    # What the parser tells. The names are httptools'.

    def on_message_begin(self) -> None:
        if self._deaf or len(self._queue) > _PIPELINED:
            self._deaf = True
            self._incoming = None
            return
        self._incoming = Request()
        self._begun += 1
        self._last_three = b""
        self._head_fed = 0
        self._extras = None
        self._queue.append(self._incoming)

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
        request = self._incoming
        if request is None:
            return
        parser = self._parser
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        request.judge()
        request.head_done = True
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

    # How bytes become requests.

    def _take(self, data: bytes | memoryview) -> None:
        if self._ending:
            self._discard(len(data))
        elif self._deaf:
            self._hold(len(data))
        else:
            self._parse(data)
            self._advance()

    def _parse(self, data: bytes | memoryview) -> None:
        before = self._incoming
        extras = self._extras
        self._begun = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._spoil(no_upgrade(), last=True)
        except httptools.HttpParserError:
            self._spoil(bad_request("The request is not well-formed HTTP/1.1."))
        else:
            request = self._incoming
            if request is not None and not request.complete:
                self._bound(request, data, before, extras)
            if self._queue and self._handler is not None:
                self._hold(0)

    def _spoil(self, refusal: Refusal, *, last: bool = False) -> None:
        """Marks the request that the parser stumbled over; nothing after it is read."""
        self._deaf = True
        request = self._incoming
        if request is None:
            return
        if request.complete and not last:
            request = Request()
            self._queue.append(request)
        request.refusal = refusal
        if request is self._current and self._handler is not None:
            self._handler.client_broke(refusal)

    def _bound(
        self,
        request: Request,
        data: bytes | memoryview,
        before: Request | None,
        extras: ChunkExtras | None,
    ) -> None:
        """Bounds what the parser swallows without a word: unfinished heads, chunk extensions."""
        if not request.head_done:
            self._last_three = (self._last_three + bytes(data[-3:]))[-3:]
            if request is before:
                self._head_fed += len(data)
                if self._head_fed > HEAD_LIMIT:
                    self._spoil(head_too_large())
        elif self._extras is not None:
            if extras is self._extras:
                self._extras.fed(len(data))
            elif self._begun == 0 or (self._begun == 1 and (before is None or before.complete)):
                self._extras.fed(after_head(self._last_three, data))
            if self._extras.too_many():
                self._spoil(bad_request("Chunk extensions and trailers are longer than 16 KiB."))

    def _hold(self, size: int) -> None:
        """Counts what is sent ahead; a client that floods is cut off."""
        self._linger_left -= size
        ahead = _LINGER_BYTES - self._linger_left
        ahead += sum(request.size + sum(map(len, request.chunks)) for request in self._queue)
        if ahead + self._head_fed > _READ_AHEAD:
            self.abort()
            self._lost()

    def _advance(self) -> None:
        """Serves as many requests as can be served now, one after the other."""
        self._advancing = True
        try:
            request = self._current
            if self._handler is not None and request is not None and not self._told_whole:
                self._told_whole = request.complete
                self._handler.body_arrived()
            while self._handler is None and not self._ending and self._next():
                pass
        finally:
            self._advancing = False

    def _next(self) -> bool:
        """Starts the next request; `False` when there is none to start yet."""
        if self._current is not None:
            if not self._current.complete:
                if self._deaf:
                    self._end(linger=True)
                return False
            self._current = None
        if not self._queue:
            if self._deaf:
                self._end(linger=True)
            else:
                self._server.idle(self)
                self.expect(Phase.IDLE, self._server.settings.keepalive_timeout)
            return False
        request = self._queue[0]
        self._server.busy(self)
        if not request.head_done and request.refusal is None:
            self.expect(Phase.HEAD, self._server.settings.head_timeout)
            return False
        self._queue.popleft()
        self._phase = Phase.NONE
        self._current = request
        self._told_whole = request.complete
        self._handler = self._server.open(self, request)
        self._handler.start()
        return True

    # How connections end.

    def _end(self, *, linger: bool) -> None:
        """Closes after the last answer, such that a client that still sends can read it.

        Closing with bytes unread makes the kernel send a reset, which overtakes the answer.
        """
        self._ending = True
        if self._gone:
            return
        if not linger:
            self._transport.close()
            self.expect(Phase.LINGER, _FLUSH_SECONDS)
            return
        self.resume_reading()
        if self._open():
            self._transport.write_eof()
        self.expect(Phase.LINGER, _LINGER_SECONDS)

    def _discard(self, size: int) -> None:
        self._linger_left -= size
        if self._linger_left <= 0:
            self._transport.abort()

    def _lost(self) -> None:
        if self._gone:
            return
        self._gone = True
        self._ending = True
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._phase is Phase.NONE:
            return
        if self._loop.time() < self._deadline:
            self._arm(self._deadline)
            return
        phase, self._phase = self._phase, Phase.NONE
        try:
            self._expired(phase)
        except Exception:
            _logger.exception("a client connection failed")
            self.abort()

    def _expired(self, phase: Phase) -> None:
        if phase in (Phase.IDLE, Phase.DRAIN):
            self._ending = True
            self._transport.close()
        elif phase is Phase.LINGER:
            self._transport.abort()
        elif phase is Phase.HEAD:
            self._spoil(Refusal(408, "request_timeout", "The head of the request came too slowly."))
            self._advance()
        elif self._handler is not None:
            self._handler.timed_out(phase)


def _keep_alive(transport: asyncio.Transport) -> None:
    """Lets the kernel notice a client that vanished without a word, in some two minutes."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
