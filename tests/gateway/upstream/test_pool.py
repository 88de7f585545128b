"""Connections are handed out fairly, checked before each use, and never too many."""

from __future__ import annotations

import asyncio

import pytest

from nanogpt_proxy.gateway.upstream import Failure, Pool, UpstreamConnection
from tests.gateway.conftest import Upstream, turns
from tests.gateway.upstream.conftest import Dialled, Sink, make_pool

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Client:
    """Asks for a connection and notes what it gets."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.failure: Failure | None = None
        self.connection = pool.acquire(self)

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def upstream_failed(self, failure: Failure) -> None:
        self.failure = failure

    def call(self) -> Sink:
        assert self.connection is not None
        sink = Sink()
        self.connection.begin(sink, b"GET /\r\n\r\n", whole=True, release=self.pool.release)
        return sink

    def done(self) -> None:
        assert self.connection is not None
        self.pool.release(self.connection)
        self.connection = None


async def test_the_first_client_waits_for_a_dial(pool: Pool, dialled: Dialled) -> None:
    client = Client(pool)
    assert client.connection is None
    await turns()
    assert client.connection is dialled.wires[0].connection


async def test_an_idle_connection_is_used_again_at_once(pool: Pool, dialled: Dialled) -> None:
    first = Client(pool)
    await turns()
    sink = first.call()
    dialled.wires[0].feed(ANSWER)
    assert sink.ended == 1
    assert Client(pool).connection is dialled.wires[0].connection
    assert len(dialled.calls) == 1


async def test_the_freshest_idle_one_comes_first(pool: Pool, dialled: Dialled) -> None:
    clients = [Client(pool) for _ in range(3)]
    await turns()
    order = [client.connection for client in clients]
    for client in clients:
        client.done()
    assert [Client(pool).connection for _ in range(3)] == order[::-1]


@pytest.mark.parametrize("what", ["byte", "end", "unread byte", "unread end", "lost"])
async def test_one_that_is_not_as_it_was_left_is_not_used(
    what: str, pool: Pool, dialled: Dialled
) -> None:
    clients = [Client(pool), Client(pool)]
    await turns()
    good, bad = dialled.wires
    for client in clients:
        client.done()
    match what:
        case "byte":
            bad.feed(b"x")
        case "end":
            bad.end()
        case "unread byte":
            bad.sock.unread = b"x"
        case "unread end":
            bad.sock.at_end = True
        case "lost":
            bad.protocol.connection_lost(None)
    assert Client(pool).connection is good.connection
    await turns()
    assert bad.closed or what == "lost"
    if what != "lost":
        third = Client(pool)
        await turns()
        assert third.connection is dialled.wires[2].connection


async def test_bytes_behind_an_answer_do_not_meet_who_waits(dialled: Dialled) -> None:
    pool = make_pool(limit=1)
    first = Client(pool)
    await turns()
    first.call()
    waiting = Client(pool)
    wire = dialled.wires[0]
    wire.sock.unread = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    wire.feed(ANSWER)
    await turns()
    got = waiting.connection
    assert got is not None and got is not wire.connection
    await pool.close()
    await turns()


async def test_there_are_never_more_than_the_limit_and_who_waited_longest_is_next(
    dialled: Dialled,
) -> None:
    pool = make_pool(limit=2)
    clients = [Client(pool) for _ in range(6)]
    await turns()
    assert len(dialled.calls) == 2
    assert [client.connection is not None for client in clients] == [True] * 2 + [False] * 4
    clients[1].done()
    assert clients[2].connection is dialled.wires[1].connection
    pool.forget(clients[3])
    clients[0].done()
    assert clients[3].connection is None
    assert clients[4].connection is dialled.wires[0].connection
    dialled.wires[1].connection.drop()
    await turns()
    assert len(dialled.calls) == 3, "one that is gone makes room"
    assert clients[5].connection is dialled.wires[2].connection
    await pool.close()
    await turns()


async def test_a_dial_that_is_not_needed_any_more_serves_the_next(
    pool: Pool, dialled: Dialled
) -> None:
    dialled.at_once = False
    gone = Client(pool)
    await turns()
    pool.forget(gone)
    dialled.succeed()
    await turns()
    assert gone.connection is None
    assert Client(pool).connection is dialled.wires[0].connection


async def test_who_comes_first_gets_what_is_ready_first(pool: Pool, dialled: Dialled) -> None:
    dialled.at_once = False
    first, second = Client(pool), Client(pool)
    await turns()
    dialled.calls[1].set_result(None)
    await turns()
    assert first.connection is not None
    assert second.connection is None
    dialled.succeed()
    await turns()
    assert second.connection is not None


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionRefusedError("refused"), Failure.CONNECT),
        (TimeoutError(), Failure.CONNECT_TIMEOUT),
        (ConnectionError("the proxy refused the tunnel"), Failure.CONNECT),
        (UnicodeError("label too long"), Failure.CONNECT),
    ],
)
async def test_a_failed_dial_is_told_to_one_client_and_logged(
    error: Exception,
    failure: Failure,
    pool: Pool,
    dialled: Dialled,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dialled.at_once = False
    first, second = Client(pool), Client(pool)
    await turns()
    dialled.fail(error)
    await turns()
    assert (first.failure, second.failure) == (failure, None)
    assert caplog.records
    dialled.succeed()
    await turns()
    assert second.connection is not None
    assert Client(pool).connection is None, "the pool goes on"
    await turns()
    assert len(dialled.calls) == 3
    dialled.succeed()
    await turns()


async def test_an_outage_fails_everybody_and_nobody_for_ever(pool: Pool, dialled: Dialled) -> None:
    dialled.at_once = False
    clients = [Client(pool) for _ in range(15)]
    await turns()
    for _ in clients:
        dialled.fail(ConnectionRefusedError())
        await turns()
    assert [client.failure for client in clients] == [Failure.CONNECT] * 15
    assert len(dialled.calls) == 15


async def test_what_has_been_idle_for_long_is_closed(dialled: Dialled) -> None:
    pool = make_pool(idle_seconds=0.02)
    clients = [Client(pool), Client(pool)]
    await turns()
    clients[0].done()
    await until_closed(dialled.wires[0])
    assert not dialled.wires[1].closed, "it is in use"
    clients[1].done()
    await until_closed(dialled.wires[1])
    await pool.close()


async def until_closed(wire: Upstream) -> None:
    async with asyncio.timeout(2):
        while not wire.closed:  # noqa: ASYNC110 - a transport has no event
            await asyncio.sleep(0.002)


async def test_closing_ends_everything(dialled: Dialled) -> None:
    pool = make_pool()
    idle, _ = Client(pool), Client(pool)
    await turns()
    idle.done()
    dialled.at_once = False
    dialling = [Client(pool), Client(pool)][1]
    await turns()
    pool.forget(dialling)
    await pool.close()
    assert all(wire.closed for wire in dialled.wires)
    assert dialled.calls[-1].cancelled()
    await turns()
