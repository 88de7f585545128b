"""How long the proxy waits for what, and what it says then."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, Proxy
from tests.functional.wire import PART, Cut, Wire, chunk, events, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def proxy(start_session: Start) -> Proxy:
    """Waits for fractions of a second."""
    return start_session(
        HEAD_TIMEOUT=0.4,
        BODY_TIMEOUT=0.4,
        KEEPALIVE_TIMEOUT=0.5,
        FIRST_BYTE_TIMEOUT=0.6,
        STREAM_IDLE_TIMEOUT=0.4,
    )


@pytest.fixture
def line(proxy: Proxy) -> Iterator[Wire]:
    with proxy.connect() as line:
        yield line


def call(model: str, *, stream: bool = False) -> bytes:
    body = json.dumps({"model": f"standin/{model}", "stream": stream}).encode()
    return head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body


def test_a_head_that_stops_is_answered(line: Wire) -> None:
    line.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
    answer = line.answer()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


def test_a_head_in_drops_gains_no_time(line: Wire) -> None:
    line.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
    began = time.monotonic()
    while line.silent(0.05):
        line.send(b"X-A: b\r\n")
        assert time.monotonic() - began < 5
    assert line.answer().status == 408


def test_the_time_for_a_head_begins_when_it_is_its_turn(line: Wire) -> None:
    line.send(call("slow:0.5") + b"GET /health/live")
    assert line.answer().status == 200
    line.send(b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.answer().status == 200


@pytest.mark.parametrize("framing", [("Content-Length", "100"), ("Transfer-Encoding", "chunked")])
def test_a_body_that_stops_is_answered(nano: StandIn, line: Wire, framing: tuple[str, str]) -> None:
    since = nano.state()["last"]
    line.send(head_of("POST", CHAT, ALICE.headers(framing)) + b"1\r\n{\r\n")
    answer = line.answer()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"
    assert nano.state()["last"] == since


def test_an_upload_that_stops_ends_at_both_sides(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    pairs = ALICE.headers(("Content-Length", "100000"), kind=MULTIPART)
    line.send(head_of("POST", UPLOAD, pairs) + b"--b\r\n")
    answer = line.answer()
    assert (answer.status, answer.code) == (408, "request_timeout")
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])
    assert not seen["body"]["complete"]


def test_a_body_in_drops_has_all_the_time(line: Wire) -> None:
    body = b'{"model":"standin/ok"}'
    line.send(head_of("POST", CHAT, ALICE.headers(("Transfer-Encoding", "chunked"))))
    for byte in body[:10]:
        line.send(chunk(bytes([byte])))
        assert line.silent(0.1)
    line.send(chunk(body[10:]) + b"0\r\n\r\n")
    assert line.answer().status == 200


def test_an_idle_connection_is_closed_without_a_word(line: Wire) -> None:
    assert line.ended() == "fin"


def test_a_connection_is_idle_only_between_requests(line: Wire) -> None:
    line.send(call("paced:10:0.1", stream=True))
    assert line.answer().body.endswith(b"data: [DONE]\n\n")
    assert line.silent(0.2)
    line.send(call("ok"))
    assert line.answer().status == 200
    assert line.ended() == "fin"


def test_no_first_byte_in_time_is_a_gateway_timeout(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    line.send(call("slow:60"))
    answer = line.answer()
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert answer.get("x-should-retry") == "false"
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])
    line.send(call("ok"))
    assert line.answer().status == 200


def test_an_upload_that_nobody_reads_is_a_gateway_timeout(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    pairs = ALICE.headers(("Content-Length", str(2**29)), kind=MULTIPART)
    line.send(head_of("POST", f"{UPLOAD}?scenario=never-reads", pairs) + PART)
    line.sock.settimeout(0.3)
    with pytest.raises(OSError):
        while True:
            line.send(bytes(65536))
    line.sock.settimeout(10)
    answer = line.answer()
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])


def test_a_stream_that_falls_silent_ends_with_an_error(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    line.send(call("silent:60", stream=True))
    answer = line.answer()
    *_, error, done = events(answer.body)
    assert done == b"data: [DONE]"
    assert b'"upstream_timeout"' in error
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])
    line.send(call("ok"))
    assert line.answer().status == 200


def test_an_answer_that_falls_silent_is_cut(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    line.send(call("silent:60"))
    head = line.head()
    assert head.status == 200
    with pytest.raises(Cut):
        line.body(head)
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])


def test_there_is_no_limit_to_the_whole(line: Wire) -> None:
    line.send(call("paced:20:0.1", stream=True))
    assert line.answer().body.endswith(b"data: [DONE]\n\n")


@pytest.fixture
def unaccepting() -> Iterator[int]:
    """A port whose queue is full: the kernel leaves further calls unanswered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        callers = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
            callers.append(caller)
        yield port
        for caller in callers:
            caller.close()


def test_no_connection_in_time_is_a_bad_gateway(start: Start, unaccepting: int) -> None:
    proxy = start(UPSTREAM_URL=f"http://127.0.0.1:{unaccepting}/api/v1", CONNECT_TIMEOUT=0.3)
    with proxy.connect() as line:
        line.send(call("ok"))
        answer = line.answer()
    assert (answer.status, answer.code) == (502, "upstream_unreachable")
    assert answer.get("x-should-retry") is None  # nothing went up: to try again costs nothing
