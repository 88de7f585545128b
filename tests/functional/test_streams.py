"""Many streams at once on one worker: none is short, each in its order."""

from __future__ import annotations

import asyncio
import json
import re
import signal

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy, User
from tests.functional.wire import Wire, events, head_of

CHAT = "/v1/chat/completions"
STREAMS, EVENTS = 1000, 30


def request(user: User, model: str) -> bytes:
    body = json.dumps({"model": model, "stream": True}).encode()
    return head_of("POST", CHAT, user.headers(("Content-Length", str(len(body))))) + body


async def content(reader: asyncio.StreamReader) -> list[str]:
    """What the model said, piece by piece, of a stream that must have ended well."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    *said, done = events(bytes(body))
    assert done == b"data: [DONE]"
    pieces = [json.loads(event.removeprefix(b"data: ")) for event in said]
    return [piece["choices"][0]["delta"].get("content", "") for piece in pieces]


@pytest.mark.slow
async def test_a_thousand_streams_are_whole_and_in_order(nano: StandIn, start: Start) -> None:
    proxy = await asyncio.to_thread(start)
    nano.wait_until(in_flight=0)
    nano.clear()
    lines = [await asyncio.open_connection(proxy.host, proxy.port) for _ in range(STREAMS)]
    users = [(ALICE, BOB)[number % 2] for number in range(STREAMS)]
    for (_, writer), user in zip(lines, users, strict=True):
        writer.write(request(user, f"standin/paced:{EVENTS}:0.1"))
    heard = await asyncio.gather(*(content(reader) for reader, _ in lines))
    for (_, writer), said, user in zip(lines, heard, users, strict=True):
        owner = user.digest[:8]
        assert "".join(said) == "".join(f" {owner}:{number}" for number in range(EVENTS))
        writer.close()
    assert nano.state()["peak"] == STREAMS
    proxy.signal(signal.SIGTERM)
    assert await asyncio.to_thread(proxy.wait_exit) == 0
    assert proxy.said.count("outcome=complete") == STREAMS


def test_each_event_is_passed_on_when_it_comes(gateway: Proxy) -> None:
    """The next event comes long after; nothing waits for it."""
    with gateway.connect() as line:
        line.send(request(ALICE, "standin/paced:3:0.3"))
        assert line.head().status == 200
        heard = b""
        for number in range(3):
            while f":{number}".encode() not in heard:
                heard += line.piece()
            assert not re.search(rb" [0-9a-f]{8}:%d" % (number + 1), heard)


@pytest.mark.parametrize("scenario", ["crlf", "split-utf8", "comments", "dribble:1", "long-event"])
def test_a_stream_is_passed_on_byte_for_byte(nano: StandIn, gateway: Proxy, scenario: str) -> None:
    with gateway.connect() as line, Wire(nano.host, nano.port) as direct:
        line.send(request(ALICE, f"standin/{scenario}"))
        relayed = line.answer()
        raw = request(ALICE, f"standin/{scenario}").replace(b"/v1/", b"/api/v1/", 1)
        direct.send(
            re.sub(
                rb"Authorization: Bearer \S+", f"Authorization: Bearer {ALICE.key}".encode(), raw
            )
        )
        head = direct.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        body = b""
        while piece := direct.piece():
            body += piece
    number = re.compile(rb"standin_\d+")
    assert number.sub(b"standin_N", relayed.body) == number.sub(b"standin_N", body)
    assert relayed.get("cache-control") == "no-cache"
    assert relayed.get("x-accel-buffering") == "no"
