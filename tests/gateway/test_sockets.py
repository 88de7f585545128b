"""Socket options, seen on real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from nanogpt_proxy.gateway.sockets import probe_peer, reset


def test_a_silent_peer_is_probed() -> None:
    with socket.socket() as sock:
        probe_peer(sock, 60)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) > 0


def test_a_socket_of_another_kind_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        probe_peer(one, 60)
        assert not one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def connected() -> tuple[asyncio.Transport, socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, ours, theirs


async def test_a_reset_is_no_clean_end() -> None:
    transport, ours, theirs = await connected()
    with theirs:
        reset(transport, ours)
        await asyncio.sleep(0)
        theirs.settimeout(5)
        with pytest.raises(ConnectionResetError):
            theirs.recv(1)


async def test_resetting_what_is_gone_does_no_harm() -> None:
    transport, ours, theirs = await connected()
    theirs.close()
    transport.abort()
    await asyncio.sleep(0)
    reset(transport, ours)
