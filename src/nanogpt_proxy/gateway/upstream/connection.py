"""One connection to NanoGPT: a request goes out, an answer comes in, and both end exactly."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from enum import Enum
from typing import Protocol, cast

import httptools

from nanogpt_proxy.gateway.framing import ChunkExtras, after_head, ended_exactly
from nanogpt_proxy.gateway.headers import RawHeaders

_logger = logging.getLogger(__name__)

_HEAD_LIMIT = 64 * 1024
_INTERIM_LIMIT = 32  # answers 1xx before the real one
_BODILESS = frozenset({204, 304})


class Failure(Enum):
    """Why there is no answer, or not all of it."""

    CONNECT = "NanoGPT cannot be reached"
    CONNECT_TIMEOUT = "NanoGPT does not accept a connection in time"
    CLOSED = "NanoGPT closed the connection"
    GARBLED = "NanoGPT's answer is not well-formed HTTP"


class AnswerHead:
    """Status line and headers. `length` is `None` when the body's end shows only as it comes."""

    __slots__ = ("chunked", "headers", "length", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.length: int | None = None
        self.chunked = False

    @property
    def until_close(self) -> bool:
        return self.length is None and not self.chunked


class AnswerSink(Protocol):
    """Who waits for the answer."""

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        """What one read brought: perhaps the head, body bytes, perhaps the end."""

    def answer_failed(self, failure: Failure) -> None:
        """There will be no more. Not called after `ended` or after `drop`."""

    def upstream_full(self) -> None:
        """NanoGPT reads the request more slowly than it comes."""

    def upstream_drained(self) -> None: ...


class UpstreamConnection(asyncio.Protocol):
    """Reused only if the request was sent whole and the answer ended exactly at its end.

    A byte beyond the answer, a byte while idle, an early answer, a parse error or an abort closes
    it: one user's stray bytes must never become another user's answer.
    """

    def __init__(self, sock: socket.socket, closed: Callable[[UpstreamConnection], None]) -> None:
        self._sock = sock
        self._closed = closed
        self._release: Callable[[UpstreamConnection], None] | None = None
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set on connect
        self._parser = httptools.HttpResponseParser(self)
        self._sink: AnswerSink | None = None
        self._head: AnswerHead | None = None
        self._head_size = 0
        self._head_done = False
        self._new_head: AnswerHead | None = None
        self._chunks: list[bytes] = []
        self._body_size = 0
        self._body_fed = 0
        self._extras: ChunkExtras | None = None
        self._tail = b""
        self._interim = 0
        self._ended = False
        self._stray = False
        self._unclear = False
        self._paused = False
        self._keep = False
        self._request_sent = False
        self._lost = False
        self.idle_since = 0.0

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._sink is None:
            self._close()  # nobody asked for this
            return
        try:
            self._read(data)
        except Exception:
            _logger.exception("an answer could not be handled")
            self._fail(Failure.GARBLED)

    def eof_received(self) -> None:
        if self._sink is not None and self._head_done and self._until_close():
            self._ended = True
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
        self._parser = httptools.HttpResponseParser(self)
        self._head = None
        self._head_size = 0
        self._head_done = False
        self._body_size = self._body_fed = 0
        self._interim = 0
        self._tail = b""
        self._ended = self._stray = self._unclear = self._keep = False
        self._request_sent = whole
        self._transport.write(data)

    def send(self, data: bytes) -> None:
        """Sends more of the request's body, framed."""
        if not self._lost:
            self._transport.write(data)

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
        self._sink = None
        self._close()

    def usable(self) -> bool:
        """Whether nothing came in while it was idle: no end, no stray byte, not even unread."""
        if self._lost or self._transport.is_closing():
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    # What the parser tells. The names are httptools'.

    def on_message_begin(self) -> None:
        if self._ended:
            self._stray = True
            return
        self._head = AnswerHead()
        self._head_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is not None and not self._head_done and not self._ended:
            self._head.headers.append((name, value))

    def on_headers_complete(self) -> None:
        head = self._head
        if head is None or self._ended:
            return
        head.status = self._parser.get_status_code()
        self._head_done = True
        if head.status < 200:
            self._interim += 1
            return
        self._frame(head)
        self._extras = ChunkExtras() if head.chunked else None
        self._new_head = head

    def on_body(self, data: bytes) -> None:
        if not self._ended:
            self._body_size += len(data)
            self._chunks.append(data)

    def on_chunk_header(self) -> None:
        if self._extras is not None:
            self._extras.chunk()

    def on_message_complete(self) -> None:
        if self._head is None or self._head.status < 200 or self._ended:
            self._head = None
            return
        self._ended = True
        self._keep = self._parser.should_keep_alive()

    # How bytes become an answer.

    def _read(self, data: bytes) -> None:
        in_body = self._head_done and self._head is not None
        broken = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            broken = not self._ended
            self._stray = True
        self._measure(data, in_body)
        if broken or self._unclear or self._out_of_bounds():
            self._deliver_then_fail()
        elif self._new_head is not None or self._chunks or self._ended:
            self._deliver()

    def _measure(self, data: bytes, in_body: bool) -> None:
        """Counts the bytes behind the head, by which a byte too many is told."""
        if in_body:
            behind = len(data)
        elif self._interim and not self._ended:
            behind = 0
        else:
            behind = after_head(self._tail, data) if self._head_done or self._ended else 0
        self._body_fed += behind
        if self._extras is not None:
            self._extras.fed(behind)
            self._extras.data(sum(map(len, self._chunks)))
        self._tail = data[-8:] if len(data) >= 8 else (self._tail + data)[-8:]
        if not self._head_done:
            self._head_size += len(data)

    def _out_of_bounds(self) -> bool:
        if self._ended:
            return False
        if self._extras is not None and self._extras.too_many():
            return True
        return self._head_size > _HEAD_LIMIT or self._interim > _INTERIM_LIMIT

    def _reusable(self) -> bool:
        sent = self._request_sent and self._transport.get_write_buffer_size() == 0
        return self._keep and sent and not self._lost and self._ended_exactly()

    def _ended_exactly(self) -> bool:
        if self._stray:
            return False
        if self._extras is not None:
            return ended_exactly(self._tail)
        return self._body_fed == self._body_size

    def _deliver(self) -> None:
        head, self._new_head = self._new_head, None
        chunks, self._chunks = self._chunks, []
        sink = self._sink
        if sink is None:
            return
        if not self._ended:
            sink.answer(head, chunks, False)
            return
        self._sink = None
        if self._reusable() and self._release is not None:
            self.resume()
            self._release(self)
        else:
            self._close()
        sink.answer(head, chunks, True)

    def _deliver_then_fail(self) -> None:
        """Passes on what was good of a broken answer, so that the client sees where it broke."""
        if self._head is not None and self._head.status >= 200 and self._chunks:
            self._deliver()
        self._fail(Failure.GARBLED)

    def _frame(self, head: AnswerHead) -> None:
        """The framing of the body by RFC 9112, 6.3."""
        if head.status in _BODILESS:
            head.length = 0
            return
        for name, value in head.headers:
            low = name.lower()
            if low == b"content-length":
                head.length = int(value)
            elif low == b"transfer-encoding":
                self._unclear = head.chunked or value.strip().lower() != b"chunked"
                head.chunked = True

    def _until_close(self) -> bool:
        return self._head is not None and self._head.status >= 200 and self._head.until_close

    def _read_what_came(self) -> None:
        """Reads an answer that was sent before the connection broke under our writing.

        A server that refuses an upload answers and closes; the reset for the bytes that it did
        not read ends our writing, but not what the kernel holds for us to read.
        """
        try:
            while data := self._sock.recv(_HEAD_LIMIT, socket.MSG_DONTWAIT):
                if self._sink is None or self._transport.get_extra_info("ssl_object"):
                    return
                self._read(data)
        except OSError:
            return

    def _fail(self, failure: Failure) -> None:
        sink, self._sink = self._sink, None
        self._close()
        if sink is not None:
            sink.answer_failed(failure)

    def _close(self) -> None:
        if not self._lost:
            self._transport.abort()
