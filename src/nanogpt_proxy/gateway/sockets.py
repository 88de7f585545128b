"""Socket options that both sides of the gateway set."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_INTERVAL = 15  # seconds between two probes; nine unanswered ones end the connection on Linux


def probe_peer(sock: socket.socket, idle_seconds: int) -> None:
    """Lets the kernel notice a far side that vanished without a word.

    A model may think for many minutes in silence, and so must not be taken for dead.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)


def reset(transport: asyncio.Transport, sock: socket.socket) -> None:
    """Ends a connection with RST, at once and whatever is still to be sent."""
    with contextlib.suppress(OSError):  # it may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
