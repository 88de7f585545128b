"""Hop 1: the listener. It counts connections, makes room, and drains them at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import names_of
from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.server.connection import ClientConnection
from nanogpt_proxy.gateway.server.handler import Handler, Phase
from nanogpt_proxy.gateway.server.request import Request
from nanogpt_proxy.settings import Settings

__all__ = ["ClientConnection", "Handler", "Phase", "Request", "Server"]

_BACKLOG = 4096
_TOLD = 256  # connections beyond the limit that are told so; more are cut without a word


class Server:
    """The gateway's front door. `open` makes the handler of each request."""

    def __init__(
        self,
        settings: Settings,
        open: Callable[[ClientConnection, Request], Handler],
        *,
        max_connections: int,
    ) -> None:
        self.settings = settings
        self.open = open
        self.names = names_of(settings)
        """How clients spell the headers that we read."""
        self.draining = False
        """No connection is kept after its answer."""
        self._max = max_connections
        self._connections: set[ClientConnection] = set()
        self._idle: dict[ClientConnection, None] = {}  # in the order in which they became idle
        self._listener: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self.loop = asyncio.get_running_loop()
        self.outbox = Outbox(self.loop)

    async def listen(self) -> tuple[str, int]:
        """Starts to accept; returns host and port. Raises `OSError` when it cannot."""
        self._listener = await self.loop.create_server(
            lambda: ClientConnection(self),
            self.settings.proxy_host,
            self.settings.proxy_port,
            backlog=_BACKLOG,
        )
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def drain(self, seconds: float) -> None:
        """Stops accepting, lets running answers end for up to `seconds`, then ends them."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._idle):
            connection.close_if_idle()
        if not await self._emptied(seconds):
            for connection in list(self._connections):
                connection.shut_down()
            if not await self._emptied(3.0):
                for connection in list(self._connections):
                    connection.abort()
                await self._emptied(1.0)

    async def _emptied(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    # What connections tell.

    def joined(self, connection: ClientConnection) -> Refusal | None:
        """Takes a new connection in, in place of the longest idle one if there is no room."""
        refusal = None
        if len(self._connections) >= self._max:
            refusal = self._make_room()
            if refusal is not None and len(self._connections) >= self._max + _TOLD:
                connection.abort()
        self._connections.add(connection)
        self._empty.clear()
        if refusal is None:
            self._idle[connection] = None
        return refusal

    def _make_room(self) -> Refusal | None:
        for oldest in self._idle:
            del self._idle[oldest]
            oldest.close_if_idle()
            return None
        return Refusal(
            503,
            "too_many_connections",
            "The proxy serves as many connections as it may; try again shortly, "
            "or ask the operator to raise MAX_CONNECTIONS.",
            kind="service_unavailable",
            headers=(("retry-after", "1"),),
        )

    def left(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        if not self._connections:
            self._empty.set()

    def idle(self, connection: ClientConnection) -> None:
        if self.draining:
            connection.close_if_idle()
        else:
            self._idle[connection] = None

    def busy(self, connection: ClientConnection) -> None:
        self._idle.pop(connection, None)
