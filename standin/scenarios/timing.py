"""When an answer comes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from standin.answers import Answer
from standin.call import Call
from standin.delivery import Sent, cut, deliver, halves, wire, write_raw


async def ok(call: Call, answer: Answer) -> web.StreamResponse:
    """The usual answer."""
    return await deliver(call, answer)


async def slow(call: Call, answer: Answer) -> web.StreamResponse:
    """The head comes after N seconds (5)."""
    await asyncio.sleep(call.order.number(0, 5))
    return await deliver(call, answer)


async def silent(call: Call, answer: Answer) -> web.StreamResponse:
    """The head at once, then N seconds (5) of silence before the first and the second piece."""
    seconds = call.order.number(0, 5)
    return await deliver(call, halves(answer), pause=lambda index: seconds if index < 2 else 0)


async def paced(call: Call, answer: Answer) -> web.StreamResponse:
    """N pieces of content (20), one every INTERVAL seconds (0.05), each ` <owner>:<i>`."""
    seconds = call.order.number(1, 0.05)
    return await deliver(call, answer, pause=lambda index: seconds if index else 0)


async def comments(call: Call, answer: Answer) -> web.StreamResponse:
    """Comment lines between the events of a stream, as some servers send to keep it alive."""
    if not answer.sse:
        return await deliver(call, answer)
    pieces = [part for event in answer.pieces for part in (b": keep-alive\n\n", event)]
    return await deliver(call, answer.with_pieces(pieces))


async def dribble(call: Call, answer: Answer) -> web.StreamResponse:
    """Head and body in packets of N bytes (1), SECONDS apart (0: as fast as they go)."""
    size, seconds = call.order.size(0, 1), call.order.number(1, 0)
    data = wire(answer)
    for start in range(0, len(data), size):
        write_raw(call, data[start : start + size])
        await asyncio.sleep(seconds)
    return Sent(keep=True)


async def one_write(call: Call, answer: Answer) -> web.StreamResponse:
    """Head and body in one packet, as far as the kernel takes it."""
    write_raw(call, wire(answer))
    return Sent(keep=True)


async def die_before_head(call: Call, _: Answer) -> web.StreamResponse:
    """After N seconds (0) the connection ends without an answer, by `fin` or `reset`."""
    await asyncio.sleep(call.order.number(0, 0))
    return await cut(call, call.order.word(1, "fin"))
