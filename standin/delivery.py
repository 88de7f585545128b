"""How an answer is sent: honestly through aiohttp, or as raw bytes on the same connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import replace
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from standin.answers import Answer
from standin.call import Call

Pause = Callable[[int], float]
"""How long to wait before piece number i."""
_CRLF = b"\r\n"
# Between the last bytes and a reset, so that the peer reads them before it learns of the reset.
_BEFORE_RESET = 0.05


class Sent(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire already, and whether the line stays open."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep_alive = keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def deliver(
    call: Call, answer: Answer, *, pause: Pause | None = None, close: bool = False
) -> web.StreamResponse:
    """Send the whole answer honestly, each piece on its own when it is a stream or paced."""
    response: web.StreamResponse
    if answer.sized and pause is None:
        response = web.Response(
            status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body
        )
        if close:
            response.force_close()
        await response.prepare(call.request)
        call.recorder.mark(call.record, "head")
        return response
    response = await begin(call, answer, close=close)
    for index, piece in enumerate(answer.pieces):
        delay = pause(index) if pause else call.pace
        if delay > 0:
            await asyncio.sleep(delay)
        await response.write(piece)
    return response


async def begin(
    call: Call, answer: Answer, *, close: bool = False, length: int | None = None
) -> web.StreamResponse:
    """Send the head of `answer` honestly; the caller writes the body."""
    response = web.StreamResponse(status=answer.status, headers=CIMultiDict(answer.headers))
    if length is not None:
        response.content_length = length
    elif answer.sized:
        response.content_length = len(answer.body)
    if close:
        response.force_close()
    await response.prepare(call.request)
    call.recorder.mark(call.record, "head")
    return response


async def pour(
    response: web.StreamResponse, blocks: AsyncIterable[bytes] | Iterable[bytes]
) -> None:
    """Write blocks as they are made, so that a long answer is never held whole."""
    if isinstance(blocks, AsyncIterable):
        async for block in blocks:
            await response.write(block)
        return
    for block in blocks:
        await response.write(block)


def head(answer: Answer, *more: tuple[str, str], version: str = "1.1") -> bytes:
    """A raw head with the answer's headers and `more`; nothing is added or checked."""
    reason = HTTPStatus(answer.status).phrase if answer.status < 600 else "Odd"
    lines = [f"HTTP/{version} {answer.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers, *more)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def chunked(piece: bytes) -> bytes:
    return f"{len(piece):x}".encode() + _CRLF + piece + _CRLF


def wire(answer: Answer) -> bytes:
    """The whole answer as honest HTTP would write it."""
    if answer.sized:
        return head(answer, ("Content-Length", str(len(answer.body)))) + answer.body
    chunks = b"".join(chunked(piece) for piece in answer.pieces)
    return head(answer, ("Transfer-Encoding", "chunked")) + chunks + b"0\r\n\r\n"


def write_raw(call: Call, data: bytes) -> None:
    """Put bytes on the connection as they are."""
    call.transport.write(data)
    call.recorder.mark(call.record, "head")


async def cut(call: Call, how: str = "reset") -> web.StreamResponse:
    """Break the connection off: by `reset` (RST) or by `fin` (as if all had been said)."""
    call.record.outcome = "cut"
    transport = call.transport
    if how == "reset":
        await asyncio.sleep(_BEFORE_RESET)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    return Sent(keep=False)


def halves(answer: Answer) -> Answer:
    """The same answer in at least two pieces, so that something can happen between them."""
    if len(answer.pieces) > 1:
        return answer
    body = answer.body
    middle = len(body) // 2
    return replace(answer, pieces=(body[:middle], body[middle:]))
