"""One connection to NanoGPT: a request goes out, an answer comes in, and both end exactly."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from enum import Enum
from typing import Protocol, cast

from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.sockets import reset
from nanogpt_proxy.gateway.upstream.answer import AnswerHead, AnswerParser

_logger = logging.getLogger(__name__)

_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)  # the enumeration's own `|` is slow
_READ = 64 * 1024


class Failure(Enum):
    """Why there is no answer, or not all of it."""

    CONNECT = "NanoGPT cannot be reached"
    CONNECT_TIMEOUT = "NanoGPT does not accept a connection in time"
    CLOSED = "NanoGPT closed the connection"
    GARBLED = "NanoGPT's answer is not well-formed HTTP"


class AnswerSink(Protocol):
    """Who waits for the answer."""

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        """What one read brought: perhaps the head, body bytes, perhaps the end."""

    def answer_failed(self, failure: Failure) -> None:
        """There will be no more. Not called after `ended` or after `drop`."""

    def not_sent(self) -> None:
        """The connection ended before the request left: it may go up on another one."""

    def upstream_full(self) -> None:
        """NanoGPT reads the request more slowly than it comes."""

    def upstream_drained(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """Reused only if the request was sent whole and the answer ended exactly at its end.

    A byte beyond the answer, a byte while idle, an early answer, a parse error or an abort closes
    it: one user's stray bytes must never become another user's answer.
    """

    _transport: asyncio.Transport
    _release: Callable[[UpstreamConnection], None]

    def __init__(
        self, sock: socket.socket, outbox: Outbox, closed: Callable[[UpstreamConnection], None]
    ) -> None:
        self._sock = sock
        self._outbox = outbox
        self._closed = closed
        self._parser = AnswerParser()
        self._sink: AnswerSink | None = None
        self._request_sent = False
        self._turn = -1  # the outbox's, when the request was begun
        self._last_turn = -1  # and when the last of it was written
        self._paused = False
        self._lost = False
        self.idle_since = 0.0
        """Loop time, set by the pool."""

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._sink is None or self._unsent():
            self._fail(Failure.CLOSED)  # nobody asked for this
            return
        sink = self._sink
        try:
            self._read(data)
        except Exception:
            _logger.exception("an answer could not be handled")
            if self._sink is sink:
                self._fail(Failure.GARBLED)
            else:  # the connection is no longer for this one, and perhaps for another already
                sink.answer_failed(Failure.GARBLED)

    def eof_received(self) -> None:
        if self._sink is not None and not self._unsent() and self._parser.end_of_stream():
            self._deliver()
        else:
            self._fail(Failure.CLOSED)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if exc is not None and self._sink is not None and not self._request_sent:
            self._read_what_came()
        self._fail(Failure.CLOSED)
        self._closed(self)

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_full()

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.upstream_drained()

    # What the owner of the exchange does.

    def begin(
        self,
        sink: AnswerSink,
        data: bytes,
        *,
        whole: bool,
        release: Callable[[UpstreamConnection], None],
    ) -> None:
        """Sends a request, or its beginning, and hands the answer to `sink`.

        `whole` says that nothing of the request is missing. `release` takes the connection back
        when it can be used again.
        """
        self._sink = sink
        self._release = release
        self._parser.begin()
        self._request_sent = whole
        self.send(data)
        self._turn = self._outbox.turn

    def send(self, data: bytes) -> None:
        """Sends more of the request's body, framed."""
        if not self._lost:
            self._last_turn = self._outbox.turn
            self._outbox.write(self._transport, data)

    def sent_whole(self) -> None:
        self._request_sent = True

    def pause(self) -> None:
        """Stops reading the answer; calls do not add up."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def drop(self) -> None:
        """Ends the connection at once; the sink hears no more of it."""
        in_use, self._sink = self._sink is not None, None
        if in_use:
            self._reset()
        else:
            self._close()

    def usable(self) -> bool:
        """Whether nothing came in while it was idle: no end, no stray byte, not even unread."""
        if self._lost or self._transport.is_closing():
            return False
        try:
            self._sock.recv(1, _LOOK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    # How bytes become an answer.

    def _read(self, data: bytes) -> None:
        parser = self._parser
        parser.feed(data)
        if parser.broken:
            if parser.chunks:  # what was good of it, so that the client sees where it broke
                self._deliver()
            self._fail(Failure.GARBLED)
        elif parser.head is not None or parser.chunks or parser.ended:
            self._deliver()

    def _deliver(self) -> None:
        parser, sink = self._parser, self._sink
        if sink is None:
            return
        head, parser.head = parser.head, None
        chunks, parser.chunks = parser.chunks, []
        if not parser.ended:
            sink.answer(head, chunks, False)
            return
        self._sink = None
        if self._reusable(parser):
            self.resume()
            self._release(self)
        elif self._request_sent:
            self._close()
        else:
            self._reset()
        sink.answer(head, chunks, True)

    def _reusable(self, parser: AnswerParser) -> bool:
        left = self._last_turn != self._outbox.turn
        sent = self._request_sent and left and self._transport.get_write_buffer_size() == 0
        return parser.keep_alive and sent and not self._lost and parser.ended_exactly()

    def _read_what_came(self) -> None:
        """Reads an answer that was sent before the connection broke under our writing.

        A server that refuses an upload answers and closes; the reset for the bytes that it did
        not read ends our writing, but not what the kernel holds for us to read. Not under TLS,
        where these bytes are of no use to us.
        """
        if self._transport.get_extra_info("ssl_object") is not None:
            return
        try:
            while self._sink is not None and (data := self._sock.recv(_READ)):
                self._read(data)
        except OSError:
            return

    def _fail(self, failure: Failure) -> None:
        sink, self._sink = self._sink, None
        self._reset()
        if sink is None:
            return
        if self._unsent():
            sink.not_sent()
        else:
            sink.answer_failed(failure)

    def _unsent(self) -> bool:
        """Whether nothing of the request has left yet."""
        return self._turn == self._outbox.turn

    def _reset(self) -> None:
        """Ends a connection whose request or answer is not complete.

        A clean end would wait in the kernel behind what NanoGPT has not read, which then goes on.
        """
        if not self._lost:
            reset(self._transport, self._sock)

    def _close(self) -> None:
        if not self._lost:
            self._transport.abort()
