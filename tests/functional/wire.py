"""A client that says exactly what a test wants and sees exactly what comes back."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_READ = 64 * 1024
_BODILESS = frozenset({204, 304})

Pairs = Sequence[tuple[str, str]]


class Cut(AssertionError):
    """The connection ended where the answer had not; `how` is `fin` or `reset`."""

    def __init__(self, how: str, rest: bytes) -> None:
        super().__init__(f"{how} after {rest[-200:]!r}")
        self.how = how
        self.rest = rest
        """What had come of the piece that is not complete."""


@dataclass
class Answer:
    """An answer; header names in lower case, `pieces` is the body as it was chunked."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    pieces: list[bytes] = field(default_factory=list)
    trailers: bytes = b""

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of an error in either envelope."""
        code: str | None = self.json["error"].get("code")
        return code

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        """The value of a header that may occur once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        return {key for key, _ in self.headers}


def head_of(method: str, target: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A request head of HTTP/1.1 with a Host."""
    lines = [f"{method} {target} HTTP/1.1", "Host: proxy.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# How an upload with the boundary "b" begins; the file's bytes follow.
PART = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
LAST_CHUNK = b"0\r\n\r\n"


class Wire:
    """One connection, read with a deadline; a context manager that closes it."""

    def __init__(
        self, host: str, port: int, *, timeout: float = 10, receive_buffer: int | None = None
    ) -> None:
        """A small `receive_buffer` makes a client that reads slowly felt at once."""
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect((host, port))
        except OSError:
            self.sock.close()
            raise
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = b""
        self._ended: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What it says.

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(
        self, method: str, target: str, headers: Pairs = (), body: bytes | None = None
    ) -> Answer:
        """Sends a whole request, its body framed by its length, and reads the answer."""
        if body is not None:
            headers = [*headers, ("Content-Length", str(len(body)))]
        self.send(head_of(method, target, headers) + (body or b""))
        return self.answer(method)

    def finish_sending(self) -> None:
        """Ends the sending side alone."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leaves with FIN, or with RST if there is something unread."""
        self.sock.close()

    def reset(self) -> None:
        """Leaves with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # What it hears.

    def answer(self, method: str = "GET") -> Answer:
        """The next final answer, whole; interim ones are left out. Raises `Cut`."""
        head = self.head()
        while head.status < 200:
            head = self.head()
        self.body(head, method)
        return head

    def head(self) -> Answer:
        """The next head, an interim one included. Raises `Cut`."""
        text = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = text.split("\r\n")[:-2]
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, f"no header: {line!r}"
            assert name == name.strip().lower(), f"odd name: {line!r}"
            pairs.append((name, value.strip()))
        return Answer(int(status), reason, pairs)

    def body(self, head: Answer, method: str = "GET") -> None:
        """Reads the body by its framing (RFC 9112, 6.3) into `head`. Raises `Cut`."""
        coding, length = head.get("transfer-encoding"), head.get("content-length")
        assert coding is None or length is None, "two framings"
        if method == "HEAD" or head.status in _BODILESS:
            return
        if coding is not None:
            assert coding == "chunked"
            while piece := self.piece():
                head.pieces.append(piece)
            head.trailers = self.until(b"\r\n").removesuffix(b"\r\n")
        elif length is not None:
            head.pieces.append(self.exactly(int(length)))
        else:
            data, how = self.rest()
            head.pieces.append(data)
            if how != "fin":
                raise Cut(how, data)

    def piece(self) -> bytes:
        """The data of the next chunk; empty for the last."""
        size = int(self.until(b"\r\n"), 16)
        if size == 0:
            return b""
        data = self.exactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    def until(self, mark: bytes) -> bytes:
        """What comes up to `mark`, with it."""
        while (end := self._held.find(mark)) < 0:
            self._more()
        data, self._held = self._held[: end + len(mark)], self._held[end + len(mark) :]
        return data

    def exactly(self, size: int) -> bytes:
        pieces, missing = [self._held[:size]], size - len(self._held)
        self._held = self._held[size:]
        while missing > 0:
            data = self._receive(min(missing, 1024 * 1024))
            if not data:
                raise Cut(self._ended or "", b"".join(pieces))
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Reads so many bytes and forgets them."""
        while size > 0:
            size -= len(self.exactly(min(size, 1024 * 1024)))

    def rest(self) -> tuple[bytes, str]:
        """All that comes, and how it ended: by `fin` or by `reset`."""
        pieces, self._held = [self._held], b""
        while data := self._receive(_READ):
            pieces.append(data)
        return b"".join(pieces), self._ended or ""

    def ended(self) -> str:
        """How the connection ended, before which nothing more may come."""
        data, how = self.rest()
        assert data == b"", f"more came: {data[:200]!r}"
        return how

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long: neither a byte nor the end."""
        if self._held or self._ended:
            return False
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self._held = self._receive(_READ)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(before)
        return False

    def _more(self) -> None:
        data = self._receive(_READ)
        if not data:
            raise Cut(self._ended or "", self._held)
        self._held += data

    def _receive(self, size: int) -> bytes:
        """Empty at the end, of which `_ended` then tells."""
        if self._ended is not None:
            return b""
        try:
            data = self.sock.recv(size)
        except (ConnectionResetError, BrokenPipeError):
            self._ended = "reset"
            return b""
        if not data:
            self._ended = "fin"
        return data


def events(body: bytes) -> list[bytes]:
    """The events of a stream, without the blank lines between them."""
    return [event for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event]
