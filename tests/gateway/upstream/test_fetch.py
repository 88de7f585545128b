"""Whole answers for calls of our own."""

from __future__ import annotations

import asyncio

import pytest

from nanogpt_proxy.gateway.upstream import FetchFailed, Pool, fetch
from tests.gateway.conftest import turns
from tests.gateway.upstream.conftest import Dialled

HEAD = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\n"


async def start(pool: Pool, *, limit: int = 100) -> asyncio.Task[object]:
    work = fetch(pool, b"/models?detailed=true", limit=limit)
    task = asyncio.get_running_loop().create_task(work)
    await turns()
    return task


async def test_it_asks_without_a_key_and_without_anybodys_headers(
    pool: Pool, dialled: Dialled
) -> None:
    task = await start(pool)
    sent = dialled.wires[0].sent
    head, _, body = sent.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    assert (line, body) == (b"GET /api/v1/models?detailed=true HTTP/1.1", b"")
    names = [header.partition(b":")[0] for header in lines]
    assert names == [b"host", b"accept", b"accept-encoding", b"user-agent"]
    assert lines[0] == b"host: 127.0.0.1:9"
    dialled.wires[0].feed(HEAD + b"hello")
    assert await task == (200, [(b"X-A", b"b"), (b"Content-Length", b"5")], b"hello")


async def test_the_connection_is_used_again(pool: Pool, dialled: Dialled) -> None:
    for _ in range(3):
        task = await start(pool)
        dialled.wires[0].feed(HEAD, b"hel", b"lo")
        assert isinstance(await task, tuple)
    assert len(dialled.calls) == 1
    assert not dialled.wires[0].closed


async def test_a_status_is_no_failure(pool: Pool, dialled: Dialled) -> None:
    task = await start(pool)
    dialled.wires[0].feed(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert await task == (503, [(b"Content-Length", b"0")], b"")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", HEAD + b"hell", b"SSH-2.0\r\n", b"\x15\x03\x01"]
)
async def test_anything_but_a_whole_answer_is(answer: bytes, pool: Pool, dialled: Dialled) -> None:
    task = await start(pool)
    dialled.wires[0].feed(answer)
    dialled.wires[0].end()
    with pytest.raises(FetchFailed):
        await task
    assert dialled.wires[0].closed


async def test_nobody_there_is_a_failure(pool: Pool, dialled: Dialled) -> None:
    dialled.at_once = False
    task = await start(pool)
    dialled.fail(ConnectionRefusedError())
    with pytest.raises(FetchFailed, match="cannot be reached"):
        await task


@pytest.mark.parametrize("last", [b"", b"0\r\n\r\n"])
async def test_a_longer_answer_than_allowed_is_cut_off(
    last: bytes, pool: Pool, dialled: Dialled
) -> None:
    task = await start(pool, limit=10)
    dialled.wires[0].feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    dialled.wires[0].feed(b"b\r\nhello world\r\n" + last)
    with pytest.raises(FetchFailed, match="too long"):
        await task
    assert dialled.wires[0].closed is not bool(last), "a whole one leaves a good connection"


async def test_who_gives_up_leaves_nothing_behind(pool: Pool, dialled: Dialled) -> None:
    asked = await start(pool)
    asked.cancel()
    await turns()
    assert dialled.wires[0].closed
    dialled.at_once = False
    queued = await start(pool)
    queued.cancel()
    await turns()
    dialled.succeed()
    await turns()
    assert dialled.wires[1].sent == b""


async def test_a_connection_that_ends_before_the_request_has_left_is_a_failure(
    pool: Pool, dialled: Dialled
) -> None:
    task = await start(pool)
    dialled.wires[0].end()
    with pytest.raises(FetchFailed, match="closed the connection"):
        await task
