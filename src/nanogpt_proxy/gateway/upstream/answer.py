"""Bytes of NanoGPT become an answer, and the exact place where it ends is known."""

from __future__ import annotations

import httptools

from nanogpt_proxy.gateway.framing import ChunkExtras, after_head, ended_exactly
from nanogpt_proxy.gateway.headers import DROPPED, RawHeaders

_HEAD_LIMIT = 64 * 1024
_INTERIM_LIMIT = 32  # answers 1xx before the real one
_BODILESS = frozenset({204, 304})


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


class AnswerParser:
    """Feeds llhttp with one answer after the other; interim ones (1xx) are read and left out.

    It goes on to another answer only after one that ended exactly. After each `feed`, `head` and
    `chunks` hold what was new; the owner takes them out.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forgets the last answer."""
        self._coming: AnswerHead | None = None
        self._headers: RawHeaders = DROPPED
        self._head_done = False
        self._head_fed = 0
        self._heads = 0
        self._interim = 0
        self._unclear = False
        self._body_size = 0
        self._body_fed = 0
        self._extras: ChunkExtras | None = None
        self._tail = b""
        self._stray = False
        self.head: AnswerHead | None = None
        self.chunks: list[bytes] = []
        self.ended = False
        self.broken = False
        """It is not well-formed, or out of bounds; what was taken out before was good."""
        self.keep_alive = False

    def feed(self, data: bytes) -> None:
        in_body = self._head_done and self._coming is not None
        self._heads = 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.broken = not self.ended
            self._stray = True
        self._measure(data, in_body)
        if self._out_of_bounds():
            self.broken, self.ended = True, False
            self.head = None
            self.chunks = []

    def end_of_stream(self) -> bool:
        """The connection ended; whether that is the proper end of this answer."""
        head = self._coming
        if head is not None and self._head_done and head.status >= 200 and head.until_close:
            self.ended = True
        return self.ended

    def ended_exactly(self) -> bool:
        """Whether not one byte came after the end, not even a line end."""
        if not self.ended or self._stray:
            return False
        if self._extras is not None:
            return ended_exactly(self._tail)
        return self._body_fed == self._body_size

    def _measure(self, data: bytes, in_body: bool) -> None:
        """Counts the bytes behind the head, by which a byte too many is told."""
        behind = 0
        if in_body:
            behind = len(data)
        elif self._heads:
            behind = after_head(self._tail[-3:], data, self._heads)
        else:
            self._head_fed += len(data)
        self._body_fed += behind
        if self._extras is not None:
            self._extras.fed(behind)
        self._tail = data[-8:] if len(data) >= 8 else (self._tail + data)[-8:]

    def _out_of_bounds(self) -> bool:
        if self._extras is not None and self._extras.too_many():
            return True
        return self._unclear or self._head_fed > _HEAD_LIMIT or self._interim > _INTERIM_LIMIT

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

    # What the parser tells. The names are httptools'.

    def on_message_begin(self) -> None:
        if self.ended:
            self._stray = True
            self._headers = DROPPED
            return
        self._coming = head = AnswerHead()
        self._headers = head.headers
        self._head_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        head = self._coming
        if head is None or self.ended:
            return
        head.status = self._parser.get_status_code()
        self._heads += 1
        self._head_done = True
        self._headers = DROPPED  # what comes now are trailers
        if head.status < 200:
            self._interim += 1
            return
        self._frame(head)
        self._extras = ChunkExtras() if head.chunked else None
        self.head = head

    def on_body(self, data: bytes) -> None:
        if not self.ended:
            self._body_size += len(data)
            self.chunks.append(data)
            if self._extras is not None:
                self._extras.data(len(data))

    def on_chunk_header(self) -> None:
        if self._extras is not None:
            self._extras.chunk()

    def on_message_complete(self) -> None:
        if self._coming is None or self._coming.status < 200 or self.ended:
            self._coming = None
            return
        self.ended = True
        self.keep_alive = self._parser.should_keep_alive()
