"""What the client gets: NanoGPT's answer with framing of our own, or an answer of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import answers, headers
from nanogpt_proxy.gateway.endings import StreamTail
from nanogpt_proxy.gateway.routes import Dialect
from nanogpt_proxy.gateway.server import ClientConnection, Request
from nanogpt_proxy.gateway.upstream import AnswerHead

_STREAM = b"text/event-stream"
_BODILESS = frozenset({204, 304})
_LAST_CHUNK = b"0\r\n\r\n"

Pairs = Sequence[tuple[bytes, bytes]]


class Reply:
    """The answer to one request, written as it comes."""

    def __init__(
        self, client: ClientConnection, request: Request, next_id: Callable[[], str]
    ) -> None:
        self._client = client
        self._request = request
        self._chunked = False
        self._until_close = False
        self._tail: StreamTail | None = None
        self._next_id = next_id
        self._request_id: str | None = None
        self.begun = False
        self.status = 0
        self.sent = 0
        """Bytes written, heads and framing included."""
        self.keep = False
        """Whether the connection takes another request after this answer."""

    @property
    def request_id(self) -> str:
        """NanoGPT's once its answer carries one; until then, and without one, ours."""
        if self._request_id is None:
            self._request_id = self._next_id()
        return self._request_id

    def relay(
        self, head: AnswerHead | None, chunks: list[bytes], ended: bool, dialect: Dialect
    ) -> None:
        """Passes on what one read brought, in one write."""
        if head is None and self._chunked and len(chunks) == 1 and not ended:
            self._event(chunks[0])
            return
        out: list[bytes] = []
        if head is not None:
            self._begin(head, dialect, out)
        if chunks:
            self._body(chunks, out)
        if ended and self._chunked:
            out.append(_LAST_CHUNK)
        self._write(b"".join(out))

    def whole(self, status: int, pairs: Pairs, body: bytes) -> None:
        """An answer of our own, in JSON."""
        self.status = status
        lines = [
            answers.status_line(status),
            b"x-request-id: " + self.request_id.encode() + b"\r\n",
            b"content-type: application/json\r\n",
            answers.header_lines(pairs),
            answers.date_line(),
            self._framing(status, len(body)),
        ]
        if self._request.method != b"HEAD":
            lines.append(body)
        self._write(b"".join(lines))

    def is_complete(self) -> bool:
        """Whether a stream has had its terminal marker; anything else is complete at its end."""
        return self._tail is None or self.status >= 400 or self._tail.complete()

    def break_off(self, refusal: Refusal) -> bool:
        """Ends an answer that broke so that the client can tell.

        `True`: the stream got its error and ended, the connection can go on. `False`: the
        connection is cut, because a clean end would say that the answer is whole.
        """
        if self._tail is None:
            self._client.cut(hard=self._until_close)
            return False
        ending = self._tail.broken_ending(refusal)
        if self._chunked:
            ending = (b"%x\r\n%b\r\n" % (len(ending), ending) if ending else b"") + _LAST_CHUNK
        self._write(ending)
        return True

    def _begin(self, head: AnswerHead, dialect: Dialect, out: list[bytes]) -> None:
        """The head for the client: what may pass, and framing of our own."""
        self.status = head.status
        passed = headers.downward(head.headers)
        known = dict(passed)
        length = head.length
        if known.get(b"content-type", b"").lower().startswith(_STREAM):
            passed = [pair for pair in passed if pair[0] != b"cache-control"]
            passed += ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
            length = None  # so that an error can follow if the stream breaks
            if b"content-encoding" not in known:
                self._tail = StreamTail(dialect)
        theirs = known.get(b"x-request-id")
        if theirs is None:
            passed.append((b"x-request-id", self.request_id.encode()))
        else:
            self._request_id = theirs.decode("latin-1")
        out.append(answers.status_line(head.status))
        out.append(answers.header_lines(passed))
        if b"date" not in known:
            out.append(answers.date_line())
        out.append(self._framing(head.status, length))

    def _framing(self, status: int, length: int | None) -> bytes:
        """The header lines that frame the body, with the empty line. `None`: not known ahead."""
        self.begun = True
        self.keep = self._client.keeps(self._request)
        line = b""
        if status in _BODILESS:
            pass
        elif length is not None:
            line = b"content-length: %d\r\n" % length
        elif self._request.version == "1.1":
            line = b"transfer-encoding: chunked\r\n"
            self._chunked = True
        else:
            self._until_close = True
            self.keep = False
        if not self.keep:
            return line + b"connection: close\r\n\r\n"
        if self._request.version == "1.0":
            return line + b"connection: keep-alive\r\n\r\n"
        return line + b"\r\n"

    def _event(self, data: bytes) -> None:
        """The usual read of a stream: one event, nothing else."""
        if self._tail is not None:
            self._tail.feed(data)
        self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def _body(self, chunks: list[bytes], out: list[bytes]) -> None:
        if self._tail is not None:
            for chunk in chunks:
                self._tail.feed(chunk)
        if self._chunked:
            out.append(b"%x\r\n" % sum(map(len, chunks)))
            out += chunks
            out.append(b"\r\n")
        else:
            out += chunks

    def _write(self, data: bytes) -> None:
        if data:
            self.sent += len(data)
            self._client.write(data)
