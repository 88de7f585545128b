"""How a connection to NanoGPT is made: address, proxy, TLS."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # undocumented

from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.sockets import probe_peer
from nanogpt_proxy.gateway.upstream.connection import UpstreamConnection
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import Settings

_PROXY_HEAD_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Origin:
    """Where `UPSTREAM_URL` points, and the way there."""

    host: str
    port: int
    path: bytes
    """The path of the URL without a slash at its end, to which a route's path is added."""
    tls: ssl.SSLContext | None
    proxy: Secret | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Origin:
        url = urlsplit(settings.upstream_url)
        secure = url.scheme == "https"
        host = url.hostname or ""
        return cls(
            host=host,
            port=url.port or (443 if secure else 80),
            path=url.path.rstrip("/").encode("ascii"),
            tls=_context(settings.upstream_ca_file) if secure else None,
            proxy=settings.https_proxy if secure and not _bypassed(host, settings) else None,
        )

    @cached_property
    def authority(self) -> bytes:
        """The value of the Host header (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.tls else 80
        return (host if self.port == usual else f"{host}:{self.port}").encode("ascii")


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bypassed(host: str, settings: Settings) -> bool:
    return bool(proxy_bypass_environment(host, {"no": settings.no_proxy}))


async def dial(
    origin: Origin,
    seconds: float,
    outbox: Outbox,
    closed: Callable[[UpstreamConnection], None],
) -> UpstreamConnection:
    """A fresh connection that writes through `outbox` and calls `closed` at its end.

    Raises `OSError` or `TimeoutError` when there is none in time.
    """
    async with asyncio.timeout(seconds):
        loop = asyncio.get_running_loop()
        sock = await _connect(loop, origin, seconds)
        try:
            if origin.proxy is not None:
                await _tunnel(loop, sock, origin, origin.proxy)
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(sock, outbox, closed),
                sock=sock,
                ssl=origin.tls,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection


async def _connect(
    loop: asyncio.AbstractEventLoop, origin: Origin, seconds: float
) -> socket.socket:
    """Tries each address in its turn, so that one that is dead costs its share of time only."""
    host, port = origin.host, origin.port
    if origin.proxy is not None:
        url = urlsplit(origin.proxy.reveal())
        host, port = url.hostname or "", url.port or 80
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(seconds / len(addresses)):
                await loop.sock_connect(sock, address)
        except OSError as error:  # TimeoutError is one of them
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            probe_peer(sock, 30)
            return sock
    raise failure


async def _tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, proxy: Secret
) -> None:
    """Asks the HTTP proxy for a tunnel (RFC 9110, 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_credentials(proxy)}\r\n"
    await loop.sock_sendall(sock, head.encode("latin-1"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        # Byte by byte, because what follows the head belongs to TLS; it is a few dozen bytes.
        byte = await loop.sock_recv(sock, 1)
        if not byte or len(answer) > _PROXY_HEAD_LIMIT:
            raise ConnectionError("the proxy closed the connection")
        answer += byte
    status = answer.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or not status[1].startswith(b"2"):
        raise ConnectionError("the proxy refused the tunnel")


def _credentials(proxy: Secret) -> str:
    url = urlsplit(proxy.reveal())
    if url.username is None:
        return ""
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
