"""Both ends of a connection without a network: transports that remember what was done to them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import httptools
import pytest

from nanogpt_proxy.directory import NOT_LOADED
from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.admission import Admission
from nanogpt_proxy.gateway.budget import BodyBudget
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.exchange import Exchange
from nanogpt_proxy.gateway.identity import ConnectionTokens
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.outbox import Outbox
from nanogpt_proxy.gateway.rejection import Rejections
from nanogpt_proxy.gateway.server import ClientConnection, Request, Server
from nanogpt_proxy.gateway.upstream import Origin, UpstreamConnection
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.models import Account, Secret
from nanogpt_proxy.pseudonyms import Pseudonyms
from nanogpt_proxy.settings import Settings

# An upload's beginning and end, with a file's bytes in between. Its boundary is "b".
OPENING = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
CLOSING = b"\r\n--b--\r\n"

KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"


def make_settings(**changed: Any) -> Settings:
    return replace(Settings(), **changed)


@pytest.fixture
def settings() -> Settings:
    return make_settings()


class Sock:
    """As much of a socket as the gateway looks at."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.unread = b""
        self.at_end = False
        self.options: list[tuple[Any, ...]] = []

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.unread and not self.at_end:
            raise BlockingIOError
        data = self.unread[:size]
        if not flags & socket.MSG_PEEK:
            self.unread = self.unread[size:]
        return data


class Wire(asyncio.Transport):
    """A transport whose far side is the test."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sock = Sock()
        self._sent = b""
        self.unsent = 0
        self.paused = False
        self.eof = False
        self.closed = False
        self.aborted = False
        protocol.connection_made(self)

    def feed(self, *pieces: bytes) -> None:
        """What the far side sends, as long as somebody listens."""
        for piece in pieces:
            if not self.closed and piece:
                self.protocol.data_received(piece)

    def end(self) -> None:
        """The far side closes."""
        if not self.closed:
            if not self.protocol.eof_received():
                self.close()

    @property
    def sent(self) -> bytes:
        """What has reached the far side, once the turn is over."""
        protocol: Any = self.protocol
        protocol._outbox.flush()
        return self._sent

    def take(self) -> bytes:
        """What was sent since the last call."""
        sent, self._sent = self.sent, b""
        return sent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof
        if not self.closed:
            self._sent += bytes(data)

    def write_eof(self) -> None:
        assert not self.closed
        self.eof = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.paused and not self.closed
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused and not self.closed
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with contextlib.suppress(RuntimeError):  # a test without a loop needs no more of it
                asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()


class Outgoing(Outbox):
    """Writes are made when somebody looks at the wire; no loop is needed."""

    def __init__(self) -> None:
        loop: Any = self
        super().__init__(loop)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Not before somebody looks."""


class Upstream(Wire):
    """The far side of a connection to NanoGPT."""

    def __init__(self, closed: Callable[[UpstreamConnection], None] | None = None) -> None:
        self.lost: list[UpstreamConnection] = []
        sock = cast(socket.socket, Sock())
        self.connection = UpstreamConnection(sock, Outgoing(), closed or self.lost.append)
        super().__init__(self.connection)
        self.connection._sock = cast(socket.socket, self.sock)

    def feed(self, *pieces: bytes) -> None:
        """What NanoGPT sends, which it does after it got what is for it."""
        assert self.sent is not None
        super().feed(*pieces)


class Answers:
    """Reads what a client got, as a client reads it."""

    def __init__(self, data: bytes, *, repeated: bool = False) -> None:
        """`repeated` headers are a fault unless they are allowed."""
        self._repeated = repeated
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.whole: list[bool] = []
        self._parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.headers.append({})
        self.bodies.append(b"")
        self.whole.append(False)

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._repeated or name.decode() not in self.headers[-1], "a header comes twice"
        self.headers[-1][name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self.bodies[-1] += body

    def on_message_complete(self) -> None:
        self.whole[-1] = True


def pieces(data: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The data cut at these places."""
    start = 0
    for cut in sorted({min(cut, len(data)) for cut in cuts}):
        yield data[start:cut]
        start = cut
    yield data[start:]


async def turns(count: int = 5) -> None:
    """Lets the loop do what was scheduled."""
    for _ in range(count):
        await asyncio.sleep(0)


class Tickets:
    """Limits that admit everybody and count what is given back."""

    def __init__(self) -> None:
        self.admitted = 0
        self.released = 0

    def admit(self, account: Account) -> Tickets:
        self.admitted += 1
        return self

    def release(self) -> None:
        self.released += 1


class People:
    """A directory. Who is in `slow` must be loaded; `loads` are the loads that wait."""

    def __init__(self) -> None:
        self.known: dict[str, Account | None] = {}
        self.slow: set[str] = set()
        self.loads: list[asyncio.Future[Account | None]] = []
        self.uses: list[str] = []
        self.judged: list[tuple[str, bool]] = []

    def find(self, email: str) -> Any:
        return NOT_LOADED if email in self.slow else self.known.get(email)

    async def load(self, email: str) -> Account | None:
        load = asyncio.get_running_loop().create_future()
        self.loads.append(load)
        await load
        return self.known.get(email)

    def used(self, account_id: str) -> None:
        self.uses.append(account_id)

    async def judge_key(self, account: Account, *, rejected: bool) -> None:
        self.judged.append((account.id, rejected))


class Wires:
    """A pool. With `ready` off, who asks waits until `hand_out`."""

    def __init__(self) -> None:
        self.origin = Origin(host="nano.example", port=443, path=b"/api/v1", tls=None)
        self.ready = True
        self.wires: list[Upstream] = []
        self.waiting: list[Any] = []
        self.released: list[UpstreamConnection] = []

    def acquire(self, waiter: Any) -> UpstreamConnection | None:
        if self.ready:
            self.wires.append(Upstream())
            return self.wires[-1].connection
        self.waiting.append(waiter)
        return None

    def forget(self, waiter: Any) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def release(self, connection: UpstreamConnection) -> None:
        self.released.append(connection)

    def hand_out(self) -> None:
        self.wires.append(Upstream())
        self.waiting.pop(0).upstream_ready(self.wires[-1].connection)


class Lists:
    """A catalogue and a health of fixed answers."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.troubles: list[str] = []
        self.refusal: Refusal | None = None

    async def listing(self, path: bytes, query: bytes) -> bytes:
        self.asked.append((path, query))
        if self.refusal is not None:
            raise self.refusal
        return b'{"data":[]}'

    async def model(self, name: str, query: bytes) -> bytes:
        self.asked.append((name, query))
        return b'{"id":"m"}'

    async def problems(self) -> list[str]:
        return self.troubles


class Log:
    """An access log that keeps its lines as they were given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, **line: Any) -> None:
        self.lines.append(line)


class Gateway:
    """All of the data plane but sockets, files and NanoGPT."""

    TOKEN = "npt-0123456789abcdef"
    EMAIL = "alice@example.com"

    def __init__(self, settings: Settings) -> None:
        self.people = People()
        self.pool = Wires()
        self.tickets = Tickets()
        self.lists = Lists()
        self.log = Log()
        self.counters = Counters()
        self.budget = BodyBudget(settings.max_buffered_bytes)
        self.settings = settings
        self.now = 1_800_000_000.0
        self.people.known[self.EMAIL] = Account("1" * 32, self.EMAIL, False, Secret(KEY))
        parts: Any = self
        self.rejections = Rejections(parts.people, asyncio.get_running_loop())
        self.context = Context(
            loop=asyncio.get_running_loop(),
            settings=settings,
            tokens=ConnectionTokens([Secret(self.TOKEN)]),
            admission=Admission(
                settings, parts.people, self.rejections, self.counters, clock=lambda: self.now
            ),
            rejections=self.rejections,
            directory=parts.people,
            limits=parts.tickets,
            pool=parts.pool,
            catalogue=parts.lists,
            health=parts.lists,
            budget=self.budget,
            judge=Judge(),
            counters=self.counters,
            pseudonyms=Pseudonyms(settings, Secret("01" * 32), Secret("02" * 32)),
            access_log=parts.log,
        )
        self.server = Server(settings, self._open, max_connections=100)
        self.exchanges: list[Exchange] = []

    def _open(self, client: ClientConnection, request: Request) -> Exchange:
        self.exchanges.append(Exchange(self.context, client, request))
        return self.exchanges[-1]

    def connect(self, *sent: bytes) -> Wire:
        wire = Wire(ClientConnection(self.server))
        wire.feed(*sent)
        return wire

    def head(
        self, start: str = "POST /v1/chat/completions", version: str = "1.1", **changed: str | None
    ) -> bytes:
        """A good head, with other headers where they are given; `None` leaves one out."""
        fields: dict[str, str | None] = {
            "host": "proxy",
            "authorization": f"Bearer {self.TOKEN}",
            "x-openwebui-user-email": self.EMAIL,
            "content-type": "application/json",
        }
        fields |= {name.replace("_", "-"): value for name, value in changed.items()}
        lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value is not None]
        return f"{start} HTTP/{version}\r\n{''.join(lines)}\r\n".encode()

    def call(self, body: bytes = b'{"model":"m"}', **changed: Any) -> bytes:
        """A whole request with this body."""
        return self.head(**({"content_length": str(len(body))} | changed)) + body

    @property
    def upstream(self) -> Upstream:
        """Where the last request went."""
        return self.pool.wires[-1]

    @property
    def outcomes(self) -> list[tuple[str, int, str]]:
        return [line for line, count in self.counters.exchanges().items() for _ in range(count)]

    def at_rest(self) -> bool:
        """Whether nothing is held any more for anybody."""
        return (
            self.tickets.admitted == self.tickets.released
            and not self.pool.waiting
            and self.budget.free == self.settings.max_buffered_bytes
            and all(wire.closed or wire.connection._sink is None for wire in self.pool.wires)
        )


@pytest.fixture
async def gateway(settings: Settings) -> Gateway:
    return Gateway(settings)
