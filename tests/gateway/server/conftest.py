"""A client connection served by handlers that note what they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request, Server
from nanogpt_proxy.settings import Settings
from tests.gateway.conftest import Wire


class Served:
    """One request. It answers when the request is whole, if the door says so, or when told."""

    def __init__(self, door: Door, client: ClientConnection, request: Request) -> None:
        self.door = door
        self.client = client
        self.request = request
        self.body = b""
        self.told: list[Any] = []
        self.done = False

    def start(self) -> None:
        self.told.append("start")
        if self.request.refusal is not None:
            self.refuse(self.request.refusal)
        else:
            self.body_arrived()

    def body_arrived(self) -> None:
        self.body += b"".join(self.request.take())
        if self.request.complete and self.door.at_once:
            self.answer()

    def client_broke(self, refusal: Refusal) -> None:
        if not self.done:
            self.refuse(refusal)

    def refuse(self, refusal: Refusal) -> None:
        self.told.append(refusal.status)
        self.answer(refusal.status)

    def client_gone(self) -> None:
        self.told.append("gone")
        self.done = True

    def client_full(self) -> None:
        self.told.append("full")

    def client_drained(self) -> None:
        self.told.append("drained")

    def timed_out(self, phase: Phase) -> None:
        self.told.append(phase)
        if phase is Phase.BODY:
            self.request.keep_alive = False
            self.answer(408)

    def shut_down(self) -> None:
        self.told.append("shut down")

    def answer(self, status: int = 200) -> None:
        assert not self.done
        self.done = True
        keep = self.client.keeps(self.request)
        close = b"" if keep else b"connection: close\r\n"
        known = self.request.head_done
        text = b"%b %b" % (self.request.method, self.request.target) if known else b"?"
        head = b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n" % (status, close, len(text))
        self.client.write(head + text)
        self.client.finished(keep)

    @property
    def seen(self) -> tuple[Any, ...]:
        """The request as it was understood."""
        request = self.request
        if not request.head_done:
            return ("?", request.refusal.status if request.refusal else None)
        status = request.refusal.status if request.refusal else 200
        body = self.body if request.complete and status == 200 else b""
        return (request.method, request.target, tuple(request.headers), body, status)


class Door(Server):
    """The server without a socket."""

    def __init__(self, settings: Settings, most: int = 100) -> None:
        super().__init__(settings, self._open, max_connections=most)
        self.served: list[Served] = []
        self.at_once = True

    def _open(self, client: ClientConnection, request: Request) -> Served:
        served = Served(self, client, request)
        self.served.append(served)
        return served

    def connect(self) -> Wire:
        return Wire(ClientConnection(self))


OpenDoor = Callable[..., Door]


@pytest.fixture
async def door(settings: Settings) -> Door:
    return Door(settings)
