"""A paused client that leaves is noticed, though nothing is read from it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nanogpt_proxy.gateway.server.presence import Presence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")


class Pair:
    """A paused transport of ours and the client's end of the connection."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        listener.close()
        self.transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        self.transport.pause_reading()
        self.presence = Presence(self.transport, self.left.set)

    async def noticed(self) -> bool:
        try:
            async with asyncio.timeout(2):
                await self.left.wait()
        except TimeoutError:
            return False
        return True


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    await pair.connect()
    yield pair
    pair.presence.stop()
    pair.client.close()
    pair.transport.abort()
    await asyncio.sleep(0)


async def test_a_client_that_closes_is_noticed(pair: Pair) -> None:
    pair.presence.watch()
    pair.client.close()
    assert await pair.noticed()


async def test_a_client_that_closes_its_sending_side_is_noticed(pair: Pair) -> None:
    pair.presence.watch()
    pair.client.sendall(b"unread")
    pair.client.shutdown(socket.SHUT_WR)
    assert await pair.noticed()


async def test_a_client_that_resets_is_noticed(pair: Pair) -> None:
    pair.presence.watch()
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    assert await pair.noticed()


async def test_one_that_stays_is_not_taken_for_gone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Presence._look

    def counted(presence: Presence) -> None:
        nonlocal looks
        looks += 1
        look(presence)

    monkeypatch.setattr(Presence, "_look", counted)
    monkeypatch.setattr("nanogpt_proxy.gateway.server.presence._INTERVAL", 0.001)
    pair.presence.watch()
    pair.presence.watch()
    pair.client.sendall(b"unread")
    async with asyncio.timeout(5):
        while looks < 20:  # noqa: ASYNC110 - a look has no event
            await asyncio.sleep(0.001)
    assert not pair.left.is_set()


async def test_it_stops_when_told_and_when_the_transport_closes(pair: Pair) -> None:
    calls: list[Any] = []
    pair.presence.watch()
    pair.presence.stop()
    pair.presence.stop()
    assert pair.presence._timer is None
    pair.transport.abort()
    await asyncio.sleep(0)
    closing = Presence(pair.transport, lambda: calls.append("left"))
    closing.watch()
    closing._look()
    assert calls == []
    closing.stop()
