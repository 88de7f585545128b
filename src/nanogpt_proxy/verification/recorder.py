"""Takes NanoGPT's place and writes down every byte that it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

_BODY = b'{"id":"recorded","object":"list","data":[]}'
_ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b") % (
    len(_BODY),
    _BODY,
)
_length = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE).search
_chunked = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, whole or broken off."""

    raw: bytes
    """As it came."""
    head: bytes
    body: bytes
    """Without its chunks; of a request that broke off, empty."""


class _Tape:
    """All that came on one connection, and how far it has been read."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._data = bytearray()
        self._at = 0
        self._start = 0

    async def until(self, mark: bytes) -> bytes:
        """What comes up to and with `mark`. Raises `EOFError`."""
        while (end := self._data.find(mark, self._at)) < 0:
            await self._more()
        return await self.exactly(end + len(mark) - self._at)

    async def exactly(self, size: int) -> bytes:
        """Raises `EOFError`."""
        while len(self._data) < self._at + size:
            await self._more()
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def cut(self) -> bytes:
        """What was read since the last call."""
        start, self._start = self._start, self._at
        return bytes(self._data[start : self._at])

    def rest(self) -> bytes:
        """What came since the last `cut`, read or not."""
        return bytes(self._data[self._start :])

    async def _more(self) -> None:
        data = await self._reader.read(65536)
        if not data:
            raise EOFError
        self._data += data


class Recorder:
    """Answers everything with 200."""

    def __init__(self) -> None:
        self.port = 0
        self._seen: list[Seen] = []
        self._tapes: set[_Tape] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listens on this machine until the end of the block."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    def take(self) -> list[Seen]:
        """What came since the last call, and what has come of requests that are not whole."""
        seen, self._seen = self._seen, []
        return seen + [Seen(tape.rest(), b"", b"") for tape in self._tapes if tape.rest()]

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tape = _Tape(reader)
        self._tapes.add(tape)
        try:
            while True:
                head = await tape.until(b"\r\n\r\n")
                body = await _body(tape, head)
                self._seen.append(Seen(tape.cut(), head, body))
                writer.write(_ANSWER)
                await writer.drain()
        except (EOFError, OSError):
            if tape.rest():
                self._seen.append(Seen(tape.rest(), b"", b""))
        finally:
            self._tapes.discard(tape)
            writer.close()


async def _body(tape: _Tape, head: bytes) -> bytes:
    if not _chunked(head):
        length = _length(head)
        return await tape.exactly(int(length[1])) if length else b""
    pieces = []
    while size := int((await tape.until(b"\r\n")).partition(b";")[0], 16):
        pieces.append(await tape.exactly(size))
        await tape.exactly(2)
    while await tape.until(b"\r\n") != b"\r\n":
        pass  # trailers, which are on the tape
    return b"".join(pieces)
