"""Whether a client is still there while nothing is read from it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

_INTERVAL = 0.05  # seconds; the upstream is to be closed within 100 ms of the client's leaving
# From the kernel's tcp_states.h: the far side has closed, or the connection is no more.
_LEFT = frozenset({7, 8, 9})


class Presence:
    """Asks the kernel about a paused connection.

    A paused transport reports neither FIN nor RST. The state of the connection tells of both,
    without reading. It knows nothing of an end that still waits behind bytes for which there is
    no room.
    """

    def __init__(self, transport: asyncio.Transport, left: Callable[[], None]) -> None:
        self._transport = transport
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        if sys.platform == "linux" and self._timer is None:
            self._timer = self._loop.call_later(_INTERVAL, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            return
        # The first byte of struct tcp_info is the state.
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _LEFT:
            self._left()
        else:
            self.watch()
