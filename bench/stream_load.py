"""Open many event streams at once, read them to their end, and print how late each event came.

Run as `python -m bench.stream_load URL CALLERS-FILE STREAMS EVENTS`; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

_EVENT = re.compile(rb'"t":(\d+),"n":(\d+),')
_END = b"0\r\n\r\n"
_STAMP_BYTES = 48  # longer than what `_EVENT` matches, so a stamp in two pieces is found whole
_BODY = (
    b'{"model":"bench/stream","stream":true,'
    b'"messages":[{"role":"user","content":"Tell me a long story about a small otter."}]}'
)
_SPREAD_SECONDS = 0.5


class Stream(asyncio.Protocol):
    """One request; notes the lag of each event and whether any is missing or out of order."""

    def __init__(self, request: bytes, lags: list[int]) -> None:
        self._request = request
        self._lags = lags
        self._tail = b""
        self._accepted = False
        self.seen = 0
        self.in_order = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        text = self._tail + data
        end = 0
        for match in _EVENT.finditer(text):
            self._lags.append(now - int(match[1]))
            self.in_order &= int(match[2]) == self.seen
            self.seen += 1
            end = match.end()
        self._tail = text[max(end, len(text) - _STAMP_BYTES) :]
        self._accepted = self._accepted or text.startswith(b"HTTP/1.1 200")
        if text.endswith(_END) or not self._accepted:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def request(url: str, bearer: str, email: str) -> bytes:
    parts = urlsplit(url)
    return (
        f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {bearer}\r\nX-OpenWebUI-User-Email: {email}\r\n"
        "Accept: */*\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(_BODY)}\r\n\r\n"
    ).encode() + _BODY


async def read_streams(
    url: str, callers: list[list[str]], streams: int
) -> tuple[list[Stream], list[int]]:
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    lags: list[int] = []
    opened: list[Stream] = []
    for number in range(streams):
        ask = request(url, *callers[number % len(callers)])
        _, stream = await loop.create_connection(partial(Stream, ask, lags), host, port)
        opened.append(stream)
        await asyncio.sleep(_SPREAD_SECONDS / streams)
    await asyncio.gather(*(stream.done for stream in opened))
    return opened, lags


def main(url: str, callers: str, streams: str, events: str) -> None:
    gc.disable()
    pairs = [line.split("\t") for line in Path(callers).read_text().splitlines()]
    opened, lags = uvloop.run(read_streams(url, pairs, int(streams)))
    lags.sort()
    marks = statistics.quantiles(lags, n=100) if len(lags) > 1 else [0.0] * 99
    result = {
        "short": sum(stream.seen != int(events) for stream in opened),
        "misordered": sum(not stream.in_order for stream in opened),
        "p50_us": marks[49] / 1000,
        "p99_us": marks[98] / 1000,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:5])
