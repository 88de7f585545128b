"""What the bytes of an answer look like, and where they break off."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from aiohttp import web

from standin.answers import DONE, Answer, data_event, named_event
from standin.call import Call
from standin.chat import chunk
from standin.delivery import Sent, begin, chunked, cut, deliver, halves, head, write_raw
from standin.recorder import Json
from standin.scenarios.refusals import unavailable

_TROUBLE = "Service temporarily unavailable. Please try again later."


def _error_events(call: Call) -> list[bytes]:
    if call.protocol == "anthropic":
        error = {"type": "overloaded_error", "message": _TROUBLE}
        return [named_event("error", {"type": "error", "error": error})]
    if call.protocol == "responses":
        fields = {"code": "service_unavailable", "message": _TROUBLE, "param": None}
        return [data_event({"type": "error", "sequence_number": 99, **fields}), DONE]
    trouble: Json = {"status": 503, "message": _TROUBLE, "code": "service_unavailable"}
    if call.record.path.endswith("/chat/completions"):
        return [chunk(call, {}, "error", error=trouble), DONE]
    return [data_event({"error": trouble}), DONE]


async def error_frame(call: Call, answer: Answer) -> web.StreamResponse:
    """After N events (3) an error event in the protocol's own form; 503 without a stream."""
    if not answer.sse:
        return await unavailable(call, answer)
    events = answer.pieces[: int(call.order.number(0, 3))]
    return await deliver(call, answer.with_pieces([*events, *_error_events(call)]))


async def eof(call: Call, answer: Answer) -> web.StreamResponse:
    """The stream ends cleanly in HTTP's eyes, but without its end; `finish` drops [DONE] only."""
    if not answer.sse:
        return await deliver(call, answer)
    dropped = 1 if call.order.word(0, "all") == "finish" else answer.ending
    return await deliver(call, answer.with_pieces(answer.pieces[:-dropped]))


async def abrupt(call: Call, answer: Answer) -> web.StreamResponse:
    """Broken off after an event, or in mid `event`, `utf8`, `chunk`, after the `head`.

    The second argument says how: `reset` or `fin`.
    """
    where, how = call.order.word(0, "between"), call.order.word(1, "reset")
    if where == "chunk":
        framed = chunked(b"data: {" + b"x" * 100)
        write_raw(call, head(answer, ("Transfer-Encoding", "chunked")) + framed[:50])
        return await cut(call, how)
    pieces = halves(answer).pieces
    response = await begin(call, answer)
    if where != "head":
        for piece in pieces[: max(1, len(pieces) // 2)]:
            await response.write(piece)
    if where == "event":
        await response.write(pieces[len(pieces) // 2][: -len(pieces[-1]) // 2])
    if where == "utf8":
        await response.write('data: {"choices":[{"delta":{"content":"日'.encode()[:-1])
    return await cut(call, how)


async def crlf(call: Call, answer: Answer) -> web.StreamResponse:
    """Lines of a stream end with CR LF."""
    if not answer.sse:
        return await deliver(call, answer)
    return await deliver(
        call, answer.with_pieces([piece.replace(b"\n", b"\r\n") for piece in answer.pieces])
    )


def _inside_characters(data: bytes) -> Iterator[bytes]:
    """Cut before each continuation byte: no piece begins where a character does."""
    start = 0
    for index in range(1, len(data)):
        if data[index] & 0xC0 == 0x80:
            yield data[start:index]
            start = index
    yield data[start:]


async def split_utf8(call: Call, answer: Answer) -> web.StreamResponse:
    """Chunks and packets begin inside characters."""
    pieces = [part for piece in answer.pieces for part in _inside_characters(piece)]
    return await deliver(call, answer.with_pieces(pieces), pause=lambda _: 0.001)


async def gzip(call: Call, answer: Answer) -> web.StreamResponse:
    """Compressed, though nobody asked for it."""
    stream = zlib.compressobj(wbits=31)
    pieces = [stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH) for part in answer.pieces]
    packed = answer.with_pieces([*pieces, stream.flush()])
    return await deliver(call, packed.with_headers(("Content-Encoding", "gzip")))


async def until_close(call: Call, answer: Answer) -> web.StreamResponse:
    """No length and no chunks: the answer ends with the connection; `reset` breaks it instead."""
    write_raw(call, head(answer, ("Connection", "close")) + answer.body)
    how = call.order.word(0, "fin")
    response = await cut(call, how)
    call.record.outcome = "answered" if how == "fin" else "cut"
    return response


async def http10(call: Call, answer: Answer) -> web.StreamResponse:
    """Answers as HTTP/1.0 with a length, and closes."""
    length = ("Content-Length", str(len(answer.body)))
    write_raw(call, head(answer, length, version="1.0") + answer.body)
    call.recorder.mark(call.record, "answered")
    return Sent(keep=False)


def _block(owner: str) -> bytes:
    """64 KiB that name their owner in every line."""
    line = f"{owner}\n".encode()
    return (line * (65536 // len(line) + 1))[:65536]


def _blocks(block: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, size, len(block)):
        yield block[: min(len(block), size - start)]


async def big(call: Call, answer: Answer) -> web.StreamResponse:
    """N bytes (1m), never held whole; as events if streamed; `chunked` leaves the length out.

    Every line of the body is the first 16 hex digits of the key's SHA-256.
    """
    size = call.order.size(0, 1024 * 1024)
    owner = call.key_digest[:16]
    if answer.sse:
        response = await begin(call, answer)
        event = chunk(call, {"content": owner * 256})
        for _ in range(size // len(event)):
            await response.write(event)
        for event in answer.pieces[-answer.ending :]:
            await response.write(event)
        return response
    sized = call.order.word(1, "length") != "chunked"
    plain = Answer(200, (("Content-Type", "application/octet-stream"),), (), sized=sized)
    plain = plain.with_headers(("X-Request-ID", call.record.request_id))
    response = await begin(call, plain, length=size if sized else None)
    for block in _blocks(_block(owner), size):
        await response.write(block)
    return response


async def long_event(call: Call, answer: Answer) -> web.StreamResponse:
    """One event of N bytes (1m) in the middle of the stream."""
    if not answer.sse:
        return await deliver(call, answer)
    event = chunk(call, {"content": "x" * call.order.size(0, 1024 * 1024)})
    first, *rest = answer.pieces
    return await deliver(call, answer.with_pieces([first, event, *rest]))
