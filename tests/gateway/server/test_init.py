"""The front door: how many come in, who must go, and how it closes."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from nanogpt_proxy.gateway.exchange import Exchange
from nanogpt_proxy.gateway.server import ClientConnection, Server
from tests.gateway.conftest import Answers, Gateway, make_settings, turns
from tests.gateway.server.conftest import Door

GET = b"GET /v1/models HTTP/1.1\r\nHost: proxy\r\n\r\n"


async def test_at_the_limit_the_longest_idle_connection_goes() -> None:
    door = Door(make_settings(), most=3)
    oldest, used, youngest = door.connect(), door.connect(), door.connect()
    oldest.feed(GET)  # so that it became idle last
    await turns()
    newcomer = door.connect()
    await turns()
    assert [wire.closed for wire in (oldest, used, youngest, newcomer)] == [
        False,
        True,
        False,
        False,
    ]
    newcomer.feed(GET)
    assert Answers(newcomer.sent).statuses == [200]


async def test_only_where_none_is_idle_a_newcomer_is_turned_away() -> None:
    door = Door(make_settings(), most=2)
    door.at_once = False
    busy, partial = door.connect(), door.connect()
    busy.feed(GET)
    partial.feed(GET[:10])
    door.at_once = True
    newcomer = door.connect()
    answers = Answers(newcomer.sent)
    assert (answers.statuses, answers.headers[0]["connection"]) == ([503], "close")
    assert newcomer.eof
    assert not busy.closed and not partial.closed
    newcomer.end()
    partial.end()
    await turns()
    another = door.connect()
    another.feed(GET)
    assert Answers(another.sent).statuses == [200], "there is room again"


async def test_the_refusal_tells_the_operator_what_to_do(settings: Any) -> None:
    gateway = Gateway(settings)
    gateway.server._max = 0
    client = gateway.connect()
    (body,) = Answers(client.sent).bodies
    said = json.loads(body)["error"]
    assert said["code"] == "too_many_connections" and "MAX_CONNECTIONS" in said["message"]


async def test_a_crowd_at_the_door_is_cut_without_a_word() -> None:
    door = Door(make_settings(), most=1)
    door.at_once = False
    door.connect().feed(GET)
    told = [door.connect() for _ in range(256)]
    untold = door.connect()
    assert not any(wire.aborted for wire in told)
    assert untold.aborted


async def test_draining_lets_answers_end_and_idle_connections_go() -> None:
    door = Door(make_settings())
    door.at_once = False
    idle, busy, partial = door.connect(), door.connect(), door.connect()
    busy.feed(GET)
    partial.feed(GET[:10])
    drained = asyncio.get_running_loop().create_task(door.drain(5))
    await turns()
    assert (idle.closed, busy.closed, partial.closed) == (True, False, False)
    door.served[0].answer()
    partial.feed(GET[10:])
    door.served[1].answer()
    for wire in (busy, partial):
        answers = Answers(wire.sent)
        assert (answers.statuses, answers.headers[0]["connection"]) == ([200], "close")
        wire.end()
    await drained


async def test_what_does_not_end_in_time_is_ended() -> None:
    door = Door(make_settings())
    door.at_once = False
    wire = door.connect()
    wire.feed(GET)
    await door.drain(0.01)
    assert door.served[0].told == ["start", "shut down", "gone"]
    assert wire.closed


async def test_with_nobody_there_draining_takes_no_time() -> None:
    async with asyncio.timeout(1):
        await Door(make_settings()).drain(60)


async def listening(gateway: Gateway) -> tuple[Server, str, int]:
    def serve(client: ClientConnection, request: Any) -> Exchange:
        return Exchange(gateway.context, client, request)

    server = Server(make_settings(proxy_port=0), serve, max_connections=10)
    host, port = await server.listen()
    return server, host, port


async def test_it_listens_where_the_settings_say_until_it_drains(gateway: Gateway) -> None:
    server, host, port = await listening(gateway)
    assert (host, port != 0) == ("127.0.0.1", True)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    await server.drain(5)
    assert await reader.read() == b'{"status":"alive"}'
    writer.close()
    await writer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_a_taken_port_is_an_error(gateway: Gateway) -> None:
    server, _, port = await listening(gateway)
    other = Server(make_settings(proxy_port=port), cast(Any, None), max_connections=1)
    with pytest.raises(OSError):
        await other.listen()
    await server.drain(0)
