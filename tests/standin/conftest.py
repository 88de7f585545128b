"""A stand-in in a process of its own, and clients that talk to it over real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from standin.process import StandIn

KEY = "sk-nano-11111111-1111-4111-8111-111111111111"

RawAsk = Callable[..., bytes]


@pytest.fixture(scope="module")
def nano() -> Iterator[StandIn]:
    with StandIn("--bad-keys", "3") as running:
        yield running


@pytest.fixture
async def client(nano: StandIn) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(f"{nano.base_url}/", headers=headers) as session:
        yield session


def chat_body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Grüße"}], **more}


@pytest.fixture
def raw_ask(nano: StandIn) -> Iterator[Callable[[str], socket.socket]]:
    """Sends a small chat request for a scenario and gives the socket to read from."""
    opened: list[socket.socket] = []

    def ask(scenario: str, *, stream: bool = False) -> socket.socket:
        line = socket.create_connection((nano.host, nano.port), timeout=5)
        opened.append(line)
        body = b'{"stream":%s}' % (b"true" if stream else b"false")
        line.sendall(
            b"POST /api/v1/chat/completions?scenario=%s HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (scenario.encode(), KEY.encode(), len(body), body)
        )
        return line

    yield ask
    for line in opened:
        line.close()


def read_all(line: socket.socket, *, quiet: float = 0.3) -> bytes:
    """What comes until the end, a reset, or `quiet` seconds of silence."""
    line.settimeout(quiet)
    data = b""
    try:
        while chunk := line.recv(65536):
            data += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    return data
