"""Both ends of a connection without a network: transports that remember what was done to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import httptools
import pytest

from nanogpt_proxy.gateway.upstream import UpstreamConnection
from nanogpt_proxy.settings import Settings

KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"


def make_settings(**changed: Any) -> Settings:
    return replace(Settings(), **changed)


@pytest.fixture
def settings() -> Settings:
    return make_settings()


class Sock:
    """As much of a socket as the gateway looks at."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.unread = b""
        self.at_end = False
        self.options: list[tuple[Any, ...]] = []

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.unread and not self.at_end:
            raise BlockingIOError
        data = self.unread[:size]
        if not flags & socket.MSG_PEEK:
            self.unread = self.unread[size:]
        return data


class Wire(asyncio.Transport):
    """A transport whose far side is the test."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sock = Sock()
        self.sent = b""
        self.writes = 0
        self.unsent = 0
        self.paused = False
        self.eof = False
        self.closed = False
        self.aborted = False
        protocol.connection_made(self)

    def feed(self, *pieces: bytes) -> None:
        """What the far side sends, as long as somebody listens."""
        for piece in pieces:
            if not self.closed and piece:
                self.protocol.data_received(piece)

    def end(self) -> None:
        """The far side closes."""
        if not self.closed:
            if not self.protocol.eof_received():
                self.close()

    def take(self) -> bytes:
        """What was sent since the last call."""
        sent, self.sent = self.sent, b""
        return sent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof
        if not self.closed:
            self.sent += bytes(data)
            self.writes += 1

    def write_eof(self) -> None:
        assert not self.closed
        self.eof = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.paused and not self.closed
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused and not self.closed
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with contextlib.suppress(RuntimeError):  # a test without a loop needs no more of it
                asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


class Upstream(Wire):
    """The far side of a connection to NanoGPT."""

    def __init__(self, closed: Callable[[UpstreamConnection], None] | None = None) -> None:
        self.lost: list[UpstreamConnection] = []
        sock = cast(socket.socket, Sock())
        self.connection = UpstreamConnection(sock, closed or self.lost.append)
        super().__init__(self.connection)
        self.connection._sock = cast(socket.socket, self.sock)


class Answers:
    """Reads what a client got, as a client reads it."""

    def __init__(self, data: bytes, methods: Iterable[str] = ()) -> None:
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.whole: list[bool] = []
        self._parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.headers.append({})
        self.bodies.append(b"")
        self.whole.append(False)

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self.headers[-1], "a header comes twice"
        self.headers[-1][name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.whole[-1] = True


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The data cut at these places."""
    start = 0
    for cut in sorted({min(cut, len(data)) for cut in cuts}):
        yield data[start:cut]
        start = cut
    yield data[start:]


async def turns(count: int = 5) -> None:
    """Lets the loop do what was scheduled."""
    for _ in range(count):
        await asyncio.sleep(0)
