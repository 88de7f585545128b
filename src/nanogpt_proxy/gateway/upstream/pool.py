"""The pool of connections to NanoGPT, with a fair queue in front of it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from typing import Protocol

from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.upstream.connection import Failure, UpstreamConnection
from nanogpt_proxy.gateway.upstream.dial import Origin, dial

_logger = logging.getLogger(__name__)


class Waiter(Protocol):
    """Who asked for a connection and did not get one at once."""

    def upstream_ready(self, connection: UpstreamConnection) -> None: ...

    def upstream_failed(self, failure: Failure) -> None: ...


class Pool:
    """Hands out idle connections, the freshest first, or dials new ones up to a limit.

    A connection that becomes free goes to whoever has waited longest.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        limit: int,
        idle_seconds: float,
        connect_timeout: float,
    ) -> None:
        self.origin = origin
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._connect_timeout = connect_timeout
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._loop)
        self._idle: deque[UpstreamConnection] = deque()  # the freshest on the right
        self._open: set[UpstreamConnection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None

    def acquire(self, waiter: Waiter) -> UpstreamConnection | None:
        """An idle connection; or `None`, and the waiter is called later."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
            connection.drop()
        self._waiting[waiter] = None
        self._dial_if_needed()
        return None

    def forget(self, waiter: Waiter) -> None:
        """The waiter needs no connection any more."""
        self._waiting.pop(waiter, None)

    def release(self, connection: UpstreamConnection) -> None:
        """Takes back a connection whose answer ended exactly."""
        if self._waiting and not connection.usable():
            connection.drop()
            self._dial_if_needed()
            return
        if self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            waiter.upstream_ready(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._idle_seconds / 2, self._retire)

    async def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in list(self._open):
            connection.drop()

    def _dial_if_needed(self) -> None:
        while (
            len(self._dials) < len(self._waiting)
            and len(self._open) + len(self._dials) < self._limit
        ):
            task = self._loop.create_task(self._dial())
            self._dials.add(task)
            task.add_done_callback(self._dialled)

    async def _dial(self) -> None:
        try:
            connection = await dial(self.origin, self._connect_timeout, self._outbox, self._closed)
        except OSError as error:
            late = isinstance(error, TimeoutError)
            failure = Failure.CONNECT_TIMEOUT if late else Failure.CONNECT
            reason = str(error) or failure.value
        else:
            self._open.add(connection)
            self.release(connection)
            return
        _logger.warning("upstream unreachable", extra={"fields": {"reason": reason}})
        if self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            waiter.upstream_failed(failure)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("dialling failed", exc_info=error)
            if self._waiting:
                waiter, _ = self._waiting.popitem(last=False)
                waiter.upstream_failed(Failure.CONNECT)
        self._dial_if_needed()

    def _closed(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if self._waiting:
            self._dial_if_needed()

    def _retire(self) -> None:
        """Closes what has been idle for long, before the far side does."""
        self._sweep = None
        oldest = self._loop.time() - self._idle_seconds
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().drop()
        if self._idle:
            self._sweep = self._loop.call_later(self._idle_seconds / 2, self._retire)
