"""Hop 1: one connection from a client. Bytes in, requests out, one exchange at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.server.deadline import Deadline
from nanogpt_proxy.gateway.server.handler import Handler, Phase
from nanogpt_proxy.gateway.server.parser import RequestParser
from nanogpt_proxy.gateway.server.presence import Presence
from nanogpt_proxy.gateway.server.request import Request
from nanogpt_proxy.gateway.sockets import probe_peer, reset

if TYPE_CHECKING:
    from nanogpt_proxy.gateway.server import Server

_logger = logging.getLogger(__name__)

_SLICE = 64 * 1024  # what is parsed at one time, so that the bounds are exact enough
_READ_AHEAD = 64 * 1024  # bytes of further requests that are held while one is served
_KEEP_IF_DUE = 64 * 1024  # an unread body of at most this size is read to keep the connection
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 2.0
_FLUSH_SECONDS = 60.0  # how long a client may take to read the rest of its last answer


class ClientConnection(asyncio.Protocol):
    """Serves the requests of one client in their order.

    A client whose request is complete is never paused: a paused transport of uvloop reports
    neither FIN nor RST, and its leaving would go unseen. What it sends ahead is held, a little.
    """

    _transport: asyncio.Transport
    _presence: Presence

    def __init__(self, server: Server) -> None:
        self._server = server
        self._outbox = server.outbox
        self._parser = RequestParser()
        self._current: Request | None = None
        self._handler: Handler | None = None
        self._told_whole = False
        self._advancing = False
        self._ending = False  # the last answer is written
        self._gone = False
        self._paused = False
        self._unparsed = 0  # bytes that came after the parser stopped to listen
        self._deadline = Deadline(server.loop, self._expired)

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._presence = Presence(self._transport, self.abort)
        probe_peer(self._transport.get_extra_info("socket"), 60)
        refusal = self._server.joined(self)
        if refusal is None:
            self.expect(Phase.IDLE, self._server.settings.keepalive_timeout)
        else:
            self._parser.spoil(refusal)
            self._advance()

    def data_received(self, data: bytes) -> None:
        try:
            if len(data) <= _SLICE:
                self._take(data)
                return
            for start in range(0, len(data), _SLICE):
                self._take(memoryview(data)[start : start + _SLICE])
        except Exception:
            self._failed()

    def eof_received(self) -> None:
        self._lost()  # the end of the client's sending side means that it is gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        self._presence.stop()
        self._deadline.close()
        self._server.left(self)

    def pause_writing(self) -> None:
        if self._handler:
            self._handler.client_full()

    def resume_writing(self) -> None:
        if self._handler:
            self._handler.client_drained()

    def write(self, data: bytes) -> None:
        if not self._gone:
            self._outbox.write(self._transport, data)

    def pause_reading(self) -> None:
        """Holds back an unfinished request."""
        request = self._current
        if self._open() and not self._paused and request is not None and not request.complete:
            self._paused = True
            self._transport.pause_reading()
            self._presence.watch()

    def resume_reading(self) -> None:
        if self._paused and self._open():
            self._paused = False
            self._presence.stop()
            self._transport.resume_reading()

    def expect(self, phase: Phase, seconds: float) -> None:
        """What must happen within so many seconds, in place of what was expected before."""
        if not self._gone:
            self._deadline.set(phase, seconds)

    def expect_nothing(self) -> None:
        self._deadline.clear()

    def keeps(self, request: Request) -> bool:
        """Whether the connection will take another request after the answer to this one."""
        if self._server.draining or not request.keep_alive or request.refusal is not None:
            return False
        if request.complete:
            return not (self._parser.deaf and not self._parser.queue)
        due = request.outstanding
        return due is not None and due <= _KEEP_IF_DUE and not request.expects_continue

    def finished(self, keep: bool) -> None:
        """The answer to the current request is written to its end."""
        request, self._handler = self._current, None
        if request is None or self._gone:
            return
        if not keep:
            self._current = None
            self._end(linger=not request.complete or self._parser.deaf)
            return
        if not request.complete:
            request.dropped = True
            request.chunks.clear()
            self.resume_reading()
            self.expect(Phase.DRAIN, self._server.settings.body_timeout)
        if not self._advancing:
            self._advance()

    def cut(self, *, hard: bool) -> None:
        """Ends the connection so that the client sees that the answer is not complete.

        `hard`: by a reset, where a clean end would look like the end of the answer.
        """
        self._handler = self._current = None
        self._ending = True
        if self._gone:
            return
        if hard:
            reset(self._transport, self._transport.get_extra_info("socket"))
        else:
            self._close()

    def abort(self) -> None:
        self._ending = True
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Closes a connection without a request."""
        if self._current is None and not self._parser.queue and not self._ending:
            self._ending = True
            self._close(_LINGER_SECONDS)

    def shut_down(self) -> None:
        if self._handler is not None:
            self._handler.shut_down()
        if not self._gone:
            self._close(_LINGER_SECONDS)

    # How bytes become requests that are served.

    def _take(self, data: bytes | memoryview) -> None:
        if self._ending or self._parser.deaf:
            self._discard(len(data))
            return
        self._parser.feed(data)
        request, handler = self._current, self._handler
        if handler and request and request.refusal:
            handler.client_broke(request.refusal)
        if self._handler and self._parser.held() > _READ_AHEAD:
            self._flooded()
        self._advance()

    def _discard(self, size: int) -> None:
        """Counts what nobody will read; less of it while an answer is still to come."""
        self._unparsed += size
        if self._unparsed > (_LINGER_BYTES if self._ending else _READ_AHEAD):
            self._flooded()

    def _flooded(self) -> None:
        self.abort()
        self._lost()

    def _advance(self) -> None:
        """Serves what can be served now, one request after the other."""
        self._advancing = True
        try:
            if self._handler and self._current and not self._told_whole:
                self._told_whole = self._current.complete
                self._handler.body_arrived()
            while self._handler is None and not self._ending and self._next():
                pass
        finally:
            self._advancing = False

    def _next(self) -> bool:
        """Starts the next request; `False` when there is none to start yet."""
        if self._current and not self._current.complete:
            if self._parser.deaf:
                self._end(linger=True)
            return False
        self._current = None
        if not self._parser.queue:
            self._rest()
            return False
        self._server.busy(self)
        request = self._parser.queue[0]
        if not request.head_done and request.refusal is None:
            if self._deadline.phase is not Phase.HEAD:  # no byte moves it
                self.expect(Phase.HEAD, self._server.settings.head_timeout)
            return False
        self._parser.queue.popleft()
        self.expect_nothing()
        self._current = request
        self._told_whole = request.complete
        self._handler = self._server.open(self, request)
        self._handler.start()
        return True

    def _rest(self) -> None:
        """Waits for another request, if there may be one."""
        if self._parser.deaf:
            self._end(linger=True)
        else:
            self._server.idle(self)
            self.expect(Phase.IDLE, self._server.settings.keepalive_timeout)

    # How connections end.

    def _end(self, *, linger: bool) -> None:
        """Closes after the last answer, such that a client that still sends can read it.

        Closing with bytes unread makes the kernel send a reset, which overtakes the answer.
        """
        self._ending = True
        if not self._open():
            return
        if not linger:
            self._close()
            return
        self.resume_reading()
        self._outbox.flush()
        unread = self._transport.get_write_buffer_size() > 0
        self._transport.write_eof()
        self.expect(Phase.LINGER, _FLUSH_SECONDS if unread else _LINGER_SECONDS)

    def _close(self, patience: float = _FLUSH_SECONDS) -> None:
        """Closes once what was written is sent, or the client takes too long to read it."""
        self._outbox.flush()
        self._transport.close()
        self.expect(Phase.LINGER, patience)

    def _open(self) -> bool:
        return not self._gone and not self._transport.is_closing()

    def _lost(self) -> None:
        if self._gone:
            return
        self._gone = self._ending = True
        handler, self._handler = self._handler, None
        if handler:
            handler.client_gone()

    def _expired(self, phase: Phase) -> None:
        try:
            if phase in (Phase.IDLE, Phase.DRAIN):
                self._ending = True
                self._close(_LINGER_SECONDS)
            elif phase is Phase.LINGER:
                self._transport.abort()
            elif phase is Phase.HEAD:
                self._parser.spoil(
                    Refusal(408, "request_timeout", "The head of the request came too slowly.")
                )
                self._advance()
            elif self._handler is not None:
                self._handler.timed_out(phase)
        except Exception:
            self._failed()

    def _failed(self) -> None:
        _logger.exception("a client connection failed")
        self.abort()
