"""The way to NanoGPT, over real sockets: address, proxy, TLS."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.upstream import Origin, UpstreamConnection
from nanogpt_proxy.gateway.upstream.dial import dial
from nanogpt_proxy.models import Secret
from tests.gateway.conftest import make_settings
from tests.gateway.upstream.conftest import Sink

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)  # asyncio has no way to wait for the handlers alone


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(ANSWER)


async def dialled(origin: Origin, seconds: float) -> UpstreamConnection:
    return await dial(origin, seconds, Outbox(asyncio.get_running_loop()), lambda _: None)


async def ask(origin: Origin, seconds: float = 5) -> bytes:
    """The body of an answer, on a connection of its own."""
    connection = await dialled(origin, seconds)
    sink = Sink()
    try:
        assert connection.usable()
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        connection.begin(sink, request, whole=True, release=lambda _: None)
        async with asyncio.timeout(5):
            while not sink.ended and not sink.failure:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.001)
    finally:
        connection.drop()
        await asyncio.sleep(0.001)
    return sink.body


def origin_at(port: int, **changed: Any) -> Origin:
    values: dict[str, Any] = {"host": "127.0.0.1", "port": port, "path": b"", "tls": None}
    return Origin(**(values | changed))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for localhost that has signed itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    place = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    public = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(place), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + public.public_bytes(serialization.Encoding.PEM)
    path = tmp_path_factory.mktemp("tls") / "standin.pem"
    path.write_bytes(pem)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path, url: str, **changed: Any) -> Origin:
    """As the settings of a private certificate make it."""
    settings = make_settings(upstream_url=url, upstream_ca_file=certificate, **changed)
    return Origin.of(settings)


@pytest.mark.parametrize(
    ("url", "authority", "path", "port"),
    [
        ("https://api.nano-gpt.com/api/v1", b"api.nano-gpt.com", b"/api/v1", 443),
        ("https://api.nano-gpt.com/api/v1/", b"api.nano-gpt.com", b"/api/v1", 443),
        ("https://nano.example", b"nano.example", b"", 443),
        ("https://nano.example:8443/v1", b"nano.example:8443", b"/v1", 8443),
        ("http://127.0.0.1:8080/api/v1", b"127.0.0.1:8080", b"/api/v1", 8080),
        ("http://localhost/v1", b"localhost", b"/v1", 80),
        ("http://localhost:443/v1", b"localhost:443", b"/v1", 443),
        ("http://[::1]:8080/v1", b"[::1]:8080", b"/v1", 8080),
    ],
)
def test_the_origin_is_read_from_the_url(
    url: str, authority: bytes, path: bytes, port: int
) -> None:
    origin = Origin.of(make_settings(upstream_url=url))
    assert (origin.authority, origin.path, origin.port) == (authority, path, port)
    assert (origin.tls is not None) is url.startswith("https")


def test_certificates_are_verified_by_default() -> None:
    tls = Origin.of(make_settings()).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("url", "no_proxy", "used"),
    [
        ("https://api.nano-gpt.com/api/v1", "", True),
        ("https://api.nano-gpt.com/api/v1", "example.com, other.com", True),
        ("https://api.nano-gpt.com/api/v1", "nano-gpt.com", False),
        ("https://api.nano-gpt.com/api/v1", ".nano-gpt.com", False),
        ("https://api.nano-gpt.com/api/v1", "example.com,api.nano-gpt.com", False),
        ("https://api.nano-gpt.com/api/v1", "*", False),
        ("http://127.0.0.1:8080/api/v1", "", False),
    ],
)
def test_the_proxy_is_used_unless_no_proxy_names_the_host(
    url: str, no_proxy: str, used: bool
) -> None:
    proxy = Secret("http://user:secret@proxy:3128")
    origin = Origin.of(make_settings(upstream_url=url, no_proxy=no_proxy, https_proxy=proxy))
    assert origin.proxy == (proxy if used else None)
    assert "secret" not in repr(origin)


async def test_a_plain_connection_is_dialled() -> None:
    async with listening(answering) as port:
        assert await ask(origin_at(port)) == b"ok"


async def test_tls_is_spoken_with_whom_the_settings_trust(
    certificate: Path, tls: ssl.SSLContext
) -> None:
    async with listening(answering, tls) as port:
        assert await ask(trusting(certificate, f"https://127.0.0.1:{port}")) == b"ok"


async def test_whom_nobody_vouches_for_is_not_spoken_to(tls: ssl.SSLContext) -> None:
    async with listening(answering, tls) as port:
        origin = Origin.of(make_settings(upstream_url=f"https://127.0.0.1:{port}"))
        with pytest.raises(ssl.SSLCertVerificationError):
            await dialled(origin, 5)


async def test_a_certificate_for_another_name_is_refused(
    certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(answering, tls) as port:
        resolve(monkeypatch, ("127.0.0.1", port))
        with pytest.raises(ssl.SSLCertVerificationError):
            await dialled(trusting(certificate, f"https://nano.example:{port}"), 5)
        assert await ask(trusting(certificate, f"https://localhost:{port}")) == b"ok"


def resolve(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    """Every name has these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        return found

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


def dead_port() -> int:
    """One on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_dead_address_fails_at_once() -> None:
    with pytest.raises(ConnectionRefusedError):
        await dialled(origin_at(dead_port()), 5)


async def test_the_next_address_is_tried_when_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(answering) as port:
        origin, dead = origin_at(port, host="two.example"), ("127.0.0.1", dead_port())
        resolve(monkeypatch, dead, ("127.0.0.1", port))
        assert await ask(origin) == b"ok"
        resolve(monkeypatch, dead, dead)
        with pytest.raises(ConnectionRefusedError):
            await dialled(origin, 5)
        resolve(monkeypatch)
        with pytest.raises(OSError, match="no address"):
            await dialled(origin, 5)


async def test_an_address_that_is_silent_costs_its_share_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with listening(answering) as port:
        loop = asyncio.get_running_loop()
        tried: list[str] = []
        connect = loop.sock_connect

        async def hang_first(sock: socket.socket, address: Any) -> None:
            tried.append(address[0])
            if address[0] == "127.0.0.2":
                await loop.create_future()
            await connect(sock, address)

        resolve(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
        monkeypatch.setattr(loop, "sock_connect", hang_first)
        assert await ask(origin_at(port, host="two.example"), seconds=0.2) == b"ok"
        assert tried == ["127.0.0.2", "127.0.0.1"]


async def test_who_accepts_and_says_nothing_times_out(certificate: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(TimeoutError):
            await dialled(trusting(certificate, f"https://127.0.0.1:{port}"), 0.05)


class Proxy:
    """An HTTP proxy that tunnels, or answers what it is told to."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.head = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        target = self.head.split(b" ")[1].decode()
        if not self.answer.split(b" ", 2)[1:2] == [b"200"]:
            return
        theirs, ours = await asyncio.open_connection("127.0.0.1", int(target.rsplit(":", 1)[1]))
        try:
            await asyncio.gather(_pump(reader, ours), _pump(theirs, writer))
        finally:
            ours.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    ("credentials", "sent"),
    [
        ("", None),
        ("user:pass@", b"user:pass"),
        ("user@", b"user:"),
        ("us%40er:p%3Ass%20%C3%A9@", "us@er:p:ss é".encode()),
    ],
)
async def test_a_proxy_is_asked_for_a_tunnel(
    credentials: str, sent: bytes | None, certificate: Path, tls: ssl.SSLContext
) -> None:
    proxy = Proxy()
    async with listening(answering, tls) as port, listening(proxy) as gate:
        secret = Secret(f"http://{credentials}127.0.0.1:{gate}")
        origin = trusting(certificate, f"https://localhost:{port}", https_proxy=secret)
        assert await ask(origin) == b"ok"
    line, *headers = proxy.head.decode().split("\r\n")[:-2]
    target = f"localhost:{port}"
    assert (line, headers[0]) == (f"CONNECT {target} HTTP/1.1", f"Host: {target}")
    basic = "Proxy-Authorization: Basic "
    given = [base64.b64decode(h.removeprefix(basic)) for h in headers[1:] if h.startswith(basic)]
    assert given == ([] if sent is None else [sent])
    assert len(headers) == 1 + len(given)


async def test_the_certificate_is_checked_behind_a_proxy_too(
    certificate: Path, tls: ssl.SSLContext
) -> None:
    async with listening(answering, tls) as port, listening(Proxy()) as gate:
        proxy = Secret(f"http://127.0.0.1:{gate}")
        origin = trusting(certificate, f"https://nano.example:{port}", https_proxy=proxy)
        with pytest.raises(ssl.SSLCertVerificationError):
            await dialled(origin, 5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 20_000,
    ],
)
async def test_a_refused_tunnel_fails(answer: bytes, certificate: Path) -> None:
    async with listening(Proxy(answer)) as gate:
        proxy = Secret(f"http://user:secret@127.0.0.1:{gate}")
        origin = trusting(certificate, "https://localhost:9", https_proxy=proxy)
        with pytest.raises(ConnectionError) as caught:
            await dialled(origin, 5)
        assert "secret" not in str(caught.value)


async def test_who_gives_up_leaves_no_socket_behind(certificate: Path) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        asked.set()
        assert await reader.read() or True  # until the other side has closed
        closed.set()

    closed = asyncio.Event()
    async with listening(silent) as gate:
        proxy = Secret(f"http://127.0.0.1:{gate}")
        origin = trusting(certificate, "https://localhost:9", https_proxy=proxy)
        task = asyncio.get_running_loop().create_task(dialled(origin, 5))
        async with asyncio.timeout(5):
            await asked.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await closed.wait()


async def test_who_gives_up_while_connecting_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    tried: list[socket.socket] = []

    async def hang(sock: socket.socket, _: Any) -> None:
        tried.append(sock)
        await loop.create_future()

    monkeypatch.setattr(loop, "sock_connect", hang)
    task = loop.create_task(dialled(origin_at(9), 5))
    async with asyncio.timeout(5):
        while not tried:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tried[0].fileno() == -1
