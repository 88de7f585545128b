"""HTTP that bends or breaks the rules: raw bytes, early answers, poisoned connections."""

from __future__ import annotations

import asyncio
import select
from dataclasses import replace

from aiohttp import web

from standin.answers import Answer, json_answer
from standin.call import Call
from standin.delivery import Sent, chunked, cut, deliver, head, wire, write_raw

_CHUNKED = ("Transfer-Encoding", "chunked")
_FAR_AWAY = 3600.0
_POLL = 0.02


def _stray(call: Call) -> bytes:
    """Bytes that nobody asked for: an answer that looks good, or `junk`."""
    if call.order.word(1, "answer") == "junk":
        return b"\x00\x01STRAY\xff\xfe"
    poison = json_answer({"stray": True, "key_sha256": call.key_digest})
    return wire(poison)


async def stray_bytes(call: Call, answer: Answer) -> web.StreamResponse:
    """More bytes follow the complete answer: `now`, or `later` while the connection is idle.

    Arguments: when, what (`answer` or `junk`), and for `later` after how many seconds (0.1).
    """
    when = call.order.word(0, "now")
    if when == "now":
        write_raw(call, wire(answer) + _stray(call))
        return Sent(keep=True)
    write_raw(call, wire(answer))
    transport, line, stray = call.transport, call.line, _stray(call)

    def speak() -> None:
        # Under a request that has come meanwhile nobody could tell them from its answer.
        if not line.busy and not transport.is_closing():
            transport.write(stray)
            call.recorder.mark(call.record, "stray")

    asyncio.get_running_loop().call_later(call.order.number(2, 0.1), speak)
    return Sent(keep=True)


async def early_answer(call: Call, _: Answer) -> web.StreamResponse:
    """Answers before the body was read, then: `keep`, `close`, `abort` or `hold`.

    `keep` and `close` (announced) discard the rest, `abort` resets, `hold` reads no more.
    The second argument is the status (200).
    """
    how = call.order.word(0, "keep")
    said = {"early": True, "number": call.record.number, "key_sha256": call.key_digest}
    answer = json_answer(said, status=int(call.order.number(1, 200)))
    answer = answer.with_headers(("X-Request-ID", call.record.request_id))
    response = await deliver(call, answer, close=how == "close")
    await response.write_eof()
    if how == "abort":
        return await cut(call)
    if how == "hold":
        call.recorder.mark(call.record, "answered")
        await _until_gone(call, _FAR_AWAY)
    return response


async def never_reads(call: Call, _: Answer) -> web.StreamResponse:
    """Does not read the body and does not answer, for N seconds (3600)."""
    await _until_gone(call, call.order.number(0, _FAR_AWAY))
    return await cut(call)


async def _until_gone(call: Call, seconds: float) -> None:
    """Wait until the peer leaves. asyncio does not see that while nothing is read: ask."""
    watch = select.poll()
    gone = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)
    watch.register(call.transport.get_extra_info("socket").fileno(), gone)
    for _ in range(int(seconds / _POLL) + 1):
        if watch.poll(0):
            call.transport.abort()
            raise ConnectionResetError("the client has left")
        await asyncio.sleep(_POLL)


async def informational(call: Call, answer: Answer) -> web.StreamResponse:
    """100 and 103 come first; or as many 103 as the argument says; `101` switches nowhere."""
    word = call.order.word(0, "1")
    if word == "101":
        write_raw(
            call, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
        )
        await asyncio.sleep(_FAR_AWAY)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nSet-Cookie: hint=1\r\n\r\n"
    write_raw(call, b"HTTP/1.1 100 Continue\r\n\r\n" + hints * int(word))
    return await deliver(call, answer)


async def trailers(call: Call, answer: Answer) -> web.StreamResponse:
    """Chunked, with trailers that try to pass for headers."""
    tail = b"0\r\nX-Checksum: abc\r\nSet-Cookie: trailer=1\r\nX-Request-ID: trailer\r\n\r\n"
    start = head(replace(answer, sized=False), _CHUNKED, ("Trailer", "X-Checksum"))
    write_raw(call, start + b"".join(chunked(piece) for piece in answer.pieces) + tail)
    return Sent(keep=True)


async def bad_chunk(call: Call, answer: Answer) -> web.StreamResponse:
    """After some good chunks one that is none; `size` too large, or (default) not a number."""
    wrong = b"zz\r\nabc\r\n"
    if call.order.word(0, "word") == "size":
        wrong = b"f" * 40 + b"\r\nabc\r\n"
    good = b"".join(chunked(piece) for piece in answer.pieces[:2])
    write_raw(call, head(answer, _CHUNKED) + good)
    await asyncio.sleep(_POLL)
    write_raw(call, wrong)
    await asyncio.sleep(_FAR_AWAY)
    return await cut(call)


def _bad_heads(answer: Answer) -> dict[str, bytes]:
    body = answer.body
    length = ("Content-Length", str(len(body)))
    return {
        "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        "status": b"HTTP/1.1 abc Odd\r\nContent-Length: 0\r\n\r\n",
        "two-lengths": head(answer, length, ("Content-Length", "3")) + body,
        "both": head(answer, length, _CHUNKED) + chunked(body) + b"0\r\n\r\n",
        "negative": head(answer, ("Content-Length", "-1")) + body,
        "name": head(answer, ("Bad Name", "x"), length) + body,
        "nul": head(answer, ("X-Nul", "a\0b"), length) + body,
        "fold": head(answer, ("X-Fold", "a\r\n b"), length) + body,
        "bare-lf": (head(answer, length)).replace(b"\r\n", b"\n") + body,
        "gzip-te": head(answer, ("Transfer-Encoding", "gzip, chunked")) + chunked(body),
        "huge": head(answer, ("X-Huge", "x" * 200_000), length) + body,
        "many": head(answer, *(("X-Many", "x") for _ in range(5000)), length) + body,
        "version": head(answer, length, version="3.0") + body,
    }


async def bad_head(call: Call, answer: Answer) -> web.StreamResponse:
    """A head that must not be believed, of the kind given; the connection stays open."""
    heads = _bad_heads(answer)
    write_raw(call, heads.get(call.order.word(0, "garbage"), heads["garbage"]))
    await asyncio.sleep(_FAR_AWAY)
    return await cut(call)


_PLANTED = (
    ("Set-Cookie", "session=stolen; Path=/"),
    ("Set-Cookie", "second=1"),
    ("Server", "standin"),
    ("Via", "1.1 standin"),
    ("Alt-Svc", 'h3=":443"'),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Content-Security-Policy", "default-src *"),
    ("Access-Control-Allow-Origin", "*"),
    ("Clear-Site-Data", '"*"'),
    ("Refresh", "0; url=https://evil.example/"),
    ("Link", "<https://evil.example/>; rel=preload"),
    ("Proxy-Authenticate", "Basic"),
    ("Keep-Alive", "timeout=5"),
    ("Connection", "keep-alive, X-Hop"),
    ("X-Hop", "1"),
    ("X_Request_ID", "underscored"),
    ("X-Unknown", "1"),
    ("X-Accel-Redirect", "/etc/passwd"),
    ("X-Nanogpt-Advisor-Id", "adv_1"),
    ("X-RateLimit-Remaining", "24"),
)


async def set_cookie(call: Call, answer: Answer) -> web.StreamResponse:
    """The usual answer with headers that have no business at the client."""
    write_raw(call, wire(answer.with_headers(*_PLANTED)))
    return Sent(keep=True)


async def no_request_id(call: Call, answer: Answer) -> web.StreamResponse:
    """The usual answer without `X-Request-ID`."""
    kept = tuple(pair for pair in answer.headers if pair[0] != "X-Request-ID")
    return await deliver(call, replace(answer, headers=kept))


async def close(call: Call, answer: Answer) -> web.StreamResponse:
    """`Connection: close`, and closes after the answer."""
    return await deliver(call, answer, close=True)


async def idle_close(call: Call, answer: Answer) -> web.StreamResponse:
    """Closes N seconds (0) after the answer without having said so, unless it is busy again."""
    response = await deliver(call, answer)
    await response.write_eof()
    transport, line = call.transport, call.line
    seconds = call.order.number(0, 0)
    if seconds <= 0:
        transport.close()
        return Sent(keep=False)

    def leave() -> None:
        if not line.busy:
            transport.close()

    asyncio.get_running_loop().call_later(seconds, leave)
    return response
