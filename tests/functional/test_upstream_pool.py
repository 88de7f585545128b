"""When a connection to NanoGPT is used again, and when it must not be."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy
from tests.functional.wire import PART, Answer, Wire, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)


def ask(line: Wire, scenario: str = "ok", *, stream: bool = False) -> Answer:
    body = json.dumps({"model": f"standin/{scenario}", "stream": stream}).encode()
    return line.ask("POST", CHAT, ALICE.headers(), body)


@pytest.fixture(scope="module")
def proxy(start_session: Start) -> Proxy:
    """Nobody else's connections are in its pool."""
    return start_session()


@pytest.fixture
def line(proxy: Proxy) -> Iterator[Wire]:
    with proxy.connect() as line:
        yield line


@pytest.fixture
def since(nano: StandIn) -> int:
    last: int = nano.state()["last"]
    return last


def connections(nano: StandIn, since: int) -> list[int]:
    return [seen["connection"] for seen in nano.requests(since)]


@pytest.mark.parametrize(
    "scenario", ["ok", "dribble:7", "one-write", "trailers", "1xx:2", "402", "500", "204", "304"]
)
def test_a_connection_is_used_again_after_a_whole_answer(
    nano: StandIn, line: Wire, since: int, scenario: str
) -> None:
    for _ in range(3):
        ask(line, scenario)
    assert len(set(connections(nano, since))) == 1


@pytest.mark.parametrize("scenario", ["ok", "dribble:7", "one-write", "comments", "error-frame"])
def test_a_connection_is_used_again_after_a_stream(
    nano: StandIn, line: Wire, since: int, scenario: str
) -> None:
    for _ in range(3):
        ask(line, scenario, stream=True)
    assert len(set(connections(nano, since))) == 1


def test_a_connection_is_used_again_after_an_upload(nano: StandIn, line: Wire, since: int) -> None:
    for _ in range(3):
        answer = line.ask("POST", UPLOAD, ALICE.headers(kind=MULTIPART), PARTS)
        assert answer.status == 200
    assert len(set(connections(nano, since))) == 1


@pytest.mark.parametrize("scenario", ["close", "http10", "until-close"])
def test_a_connection_that_says_it_closes_is_not_used_again(
    nano: StandIn, line: Wire, since: int, scenario: str
) -> None:
    assert ask(line, scenario).status == 200
    assert ask(line).status == 200
    assert len(set(connections(nano, since))) == 2


@pytest.mark.parametrize("what", ["answer", "junk"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_byte_beyond_the_answer_ends_its_connection(
    nano: StandIn, line: Wire, since: int, what: str, stream: bool
) -> None:
    first = ask(line, f"stray-bytes:now:{what}", stream=stream)
    assert first.status == 200
    assert b'"stray"' not in first.body
    assert b"STRAY" not in first.body
    second = ask(line)
    assert second.status == 200
    assert b'"stray"' not in second.body
    assert len(set(connections(nano, since))) == 2


@pytest.mark.parametrize("what", ["answer", "junk"])
def test_a_byte_on_an_idle_connection_ends_it(
    nano: StandIn, line: Wire, since: int, what: str
) -> None:
    ask(line, f"stray-bytes:later:{what}:0.05")
    (seen,) = nano.requests(since)
    nano.wait_for(seen["number"], "stray")
    nano.wait_closed(seen["number"])
    second = ask(line)
    assert second.status == 200
    assert b'"stray"' not in second.body
    assert len(set(connections(nano, since))) == 2


def test_an_answer_before_the_request_was_whole_ends_its_connection(
    nano: StandIn, proxy: Proxy, since: int
) -> None:
    target = f"{UPLOAD}?scenario=early-answer:keep"
    with proxy.connect() as line:
        size = ("Content-Length", "100000")
        line.send(head_of("POST", target, ALICE.headers(size, kind=MULTIPART)) + PART + bytes(1000))
        early = line.answer()
        assert early.json["early"]
        (seen,) = nano.requests(since)
        nano.wait_closed(seen["number"])
    with proxy.connect() as line:
        assert ask(line).status == 200
    assert len(set(connections(nano, since))) == 2


@pytest.mark.parametrize("scenario", ["abrupt:between", "bad-chunk", "die-before-head"])
def test_a_broken_answer_ends_its_connection(
    nano: StandIn, line: Wire, since: int, scenario: str
) -> None:
    ask(line, scenario, stream=True)
    assert ask(line).status == 200
    assert len(set(connections(nano, since))) == 2


def test_a_connection_that_nanogpt_closed_while_idle_is_replaced_unseen(
    nano: StandIn, proxy: Proxy, line: Wire, since: int
) -> None:
    """Also when its end and the next request are seen in the same moment."""
    body = b'{"model":"standin/idle-close:0.02"}'
    request = head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body
    line.send(request)
    for _ in range(20):
        assert line.answer().status == 200
        proxy.signal(signal.SIGSTOP)
        nano.wait_closed(nano.requests(since)[-1]["number"])
        line.send(request)
        proxy.signal(signal.SIGCONT)
    assert line.answer().status == 200
    seen = nano.requests(since)
    assert len(seen) == 21  # nothing was sent twice
    assert len({one["connection"] for one in seen}) == 21


def test_idle_connections_are_retired(nano: StandIn, start: Start, since: int) -> None:
    proxy = start(UPSTREAM_IDLE_SECONDS=0.2)
    with proxy.connect() as line:
        ask(line)
        (seen,) = nano.requests(since)
        nano.wait_closed(seen["number"], timeout=2)


class Unfaithful:
    """Closes each connection the moment a second request has come on it, without an answer."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v1"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                self._answer(sock)
                self._read(sock)

    def _read(self, sock: socket.socket) -> None:
        held = b""
        while b"\r\n\r\n{" not in held and (data := sock.recv(65536)):
            held += data
        self.requests += bool(held)

    def _answer(self, sock: socket.socket) -> None:
        self._read(sock)
        sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )


@pytest.fixture
def unfaithful() -> Iterator[Unfaithful]:
    server = Unfaithful()
    yield server
    server.close()


def test_a_post_that_may_have_arrived_is_never_sent_twice(
    start: Start, unfaithful: Unfaithful
) -> None:
    proxy = start(UPSTREAM_URL=unfaithful.url)
    with proxy.connect() as line:
        assert ask(line).status == 200
        second = ask(line)
    assert (second.status, second.code) == (502, "upstream_disconnected")
    assert second.get("x-should-retry") == "false"
    assert unfaithful.requests == 2


def test_two_connections_serve_many_in_the_order_they_came(
    nano: StandIn, start: Start, since: int
) -> None:
    proxy = start(UPSTREAM_CONNECTIONS=2)
    lines = [proxy.connect() for _ in range(12)]
    for index, line in enumerate(lines):
        body = json.dumps({"model": "standin/slow:0.05", "seed": str(index)}).encode()
        pairs = (ALICE, BOB)[index % 2].headers(("Content-Length", str(len(body))))
        line.send(head_of("POST", CHAT, pairs) + body)
        if index < 2:
            nano.wait_until(in_flight_min=index + 1)
        else:
            time.sleep(0.002)  # or the kernel may hand them over in another order
    for line in lines:
        assert line.answer().status == 200
        line.close()
    found = nano.requests(since)
    assert len({seen["connection"] for seen in found}) == 2
    assert [said(seen)["seed"] for seen in found] == [str(index) for index in range(12)]


def said(seen: dict[str, dict[str, str]]) -> dict[str, str]:
    import base64

    found: dict[str, str] = json.loads(base64.b64decode(seen["body"]["base64"]))
    return found


def test_a_connection_of_the_queue_goes_on_when_the_one_before_broke(
    nano: StandIn, start: Start
) -> None:
    proxy = start(UPSTREAM_CONNECTIONS=1)
    scenarios = ["abrupt:between", "ok", "stray-bytes:now", "ok", "die-before-head", "ok", "close"]
    lines = [proxy.connect() for _ in scenarios]
    for line, scenario in zip(lines, scenarios, strict=True):
        body = json.dumps({"model": f"standin/{scenario}", "stream": True}).encode()
        pairs = ALICE.headers(("Content-Length", str(len(body))))
        line.send(head_of("POST", CHAT, pairs) + body)
    assert [line.answer().status for line in lines] == [200, 200, 200, 200, 502, 200, 200]
    for line in lines:
        line.close()


def test_nobody_listening_is_a_bad_gateway_that_may_be_repeated(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = start(UPSTREAM_URL=f"http://127.0.0.1:{port}/api/v1")
    with proxy.connect() as line:
        answer = ask(line)
        assert (answer.status, answer.code) == (502, "upstream_unreachable")
        assert answer.get("x-should-retry") is None
        assert ask(line).status == 502
