"""An upstream that answers every POST with a paced event stream; each event says when it left.

Run as `python -m bench.stream_upstream PORT EVENTS EVENTS-PER-SECOND`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import cast

import uvloop

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_REST = (
    b',"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1778155200,'
    b'"model":"bench/stream","choices":[{"index":0,"delta":{"content":" token"},'
    b'"finish_reason":null}]}\n\n'
)
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"


class Pacer:
    """One timer for all streams: it serves a slot of them each millisecond.

    A timer for each stream would cost the core that the load generator needs too.
    """

    def __init__(self, events: int, per_second: int) -> None:
        self._events = events
        self._slots: list[dict[asyncio.Transport, int]] = [{} for _ in range(1000 // per_second)]
        self._next = 0
        self._started = time.monotonic()
        self._ticks = 0

    def add(self, transport: asyncio.Transport) -> None:
        self._next = (self._next + 1) % len(self._slots)
        self._slots[self._next][transport] = 0

    def remove(self, transport: asyncio.Transport) -> None:
        for slot in self._slots:
            slot.pop(transport, None)

    def tick(self) -> None:
        due = int((time.monotonic() - self._started) * 1000)
        while self._ticks < due:
            self._ticks += 1
            self._serve(self._slots[self._ticks % len(self._slots)])
        asyncio.get_running_loop().call_later(0.001, self.tick)

    def _serve(self, slot: dict[asyncio.Transport, int]) -> None:
        for transport, sent in list(slot.items()):
            if sent == self._events:
                del slot[transport]
                transport.write(_END)
                continue
            event = b'data: {"t":%d,"n":%d' % (time.monotonic_ns(), sent) + _REST
            transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            slot[transport] = sent + 1


class Connection(asyncio.Protocol):
    """Just enough HTTP: a head, a body by `Content-Length` or chunked, no pipelining."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        self._pacer.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or not _is_whole(head.lower(), body):
            return
        self._received = b""
        if b"bearer sk-nano-" not in head.lower():
            self._transport.write(_REFUSED)
            return
        self._transport.write(_HEAD)
        self._pacer.add(self._transport)


def _is_whole(head: bytes, body: bytes) -> bool:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return len(body) >= int(value)
        if name == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return True


async def serve(port: int, events: int, per_second: int) -> None:
    pacer = Pacer(events, per_second)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(pacer), "127.0.0.1", port, backlog=1024)
    pacer.tick()
    await server.serve_forever()


if __name__ == "__main__":
    gc.disable()
    uvloop.run(serve(*(int(word) for word in sys.argv[1:4])))
