"""The user presses Stop: whatever is going on, NanoGPT stops within 100 ms."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable

import pytest

from standin.process import NeverHappened, StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy
from tests.functional.wire import PART, Wire, chunk, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"
DEADLINE = 0.1
Leave = Callable[[Wire], None]
LEAVES = pytest.mark.parametrize(
    "leave", [Wire.close, Wire.reset, Wire.finish_sending], ids=["fin", "reset", "half-close"]
)


def chat(model: str, *, stream: bool = True) -> bytes:
    return json.dumps({"model": model, "stream": stream, "messages": []}).encode()


def ask(line: Wire, model: str, *, stream: bool = True) -> None:
    body = chat(model, stream=stream)
    line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)


def begin_upload(line: Wire, scenario: str, *framing: tuple[str, str]) -> None:
    target = f"{UPLOAD}?scenario={scenario}"
    begun = chunk(PART) if ("Transfer-Encoding", "chunked") in framing else PART
    line.send(head_of("POST", target, ALICE.headers(*framing, kind=MULTIPART)) + begun)


def fill(line: Wire) -> int:
    """Sends until nobody takes more; how much went."""
    sent, piece = 0, bytes(64 * 1024)
    line.sock.settimeout(0.3)
    try:
        while True:
            sent += line.sock.send(piece)
    except TimeoutError:
        return sent


def check_noticed(nano: StandIn, number: int, left: float) -> None:
    assert 0 <= nano.wait_closed(number) - left < DEADLINE


@LEAVES
def test_while_the_model_still_thinks(nano: StandIn, gateway: Proxy, leave: Leave) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask(line, "standin/slow:60")
        number = nano.wait_next(since, "body")["request"]["number"]
        left = time.monotonic()
        leave(line)
        check_noticed(nano, number, left)


@LEAVES
def test_in_mid_stream(nano: StandIn, gateway: Proxy, leave: Leave) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask(line, "standin/paced:1000:0.02")
        head = line.head()
        assert head.status == 200
        for _ in range(5):
            line.piece()
        number = nano.wait_next(since)["request"]["number"]
        left = time.monotonic()
        leave(line)
        check_noticed(nano, number, left)


@LEAVES
def test_while_it_reads_more_slowly_than_the_answer_comes(
    nano: StandIn, gateway: Proxy, leave: Leave
) -> None:
    since = nano.state()["last"]
    with gateway.connect(receive_buffer=8192) as line:
        ask(line, "standin/big:64m", stream=False)
        assert line.head().status == 200
        number = nano.wait_next(since, "head")["request"]["number"]
        with pytest.raises(NeverHappened):  # all buffers on the way are full
            nano.wait_for(number, "answered", timeout=0.5)
        left = time.monotonic()
        leave(line)
        check_noticed(nano, number, left)


@pytest.mark.parametrize(
    "framing", [("Content-Length", "99999999"), ("Transfer-Encoding", "chunked")]
)
@LEAVES
def test_in_mid_upload(
    nano: StandIn, gateway: Proxy, leave: Leave, framing: tuple[str, str]
) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        begin_upload(line, "ok", framing)
        piece = bytes(1000)
        line.send(chunk(piece) if framing[1] == "chunked" else piece)
        number = nano.wait_next(since)["request"]["number"]
        left = time.monotonic()
        leave(line)
        check_noticed(nano, number, left)


def test_while_nobody_reads_its_upload(nano: StandIn, gateway: Proxy) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        begin_upload(line, "never-reads", ("Content-Length", str(2**29)))
        assert fill(line) < 2**26
        number = nano.wait_next(since)["request"]["number"]
        left = time.monotonic()
        line.reset()
        check_noticed(nano, number, left)


@LEAVES
def test_while_its_upload_waits_in_the_kernel(nano: StandIn, gateway: Proxy, leave: Leave) -> None:
    """The proxy does not read what it cannot pass on, and sees the end all the same."""
    since = nano.state()["last"]
    with gateway.connect() as line:
        begin_upload(line, "never-reads", ("Content-Length", str(2**29)))
        number = nano.wait_next(since)["request"]["number"]
        send_until_unread(line, gateway)
        left = time.monotonic()
        leave(line)
        check_noticed(nano, number, left)


def send_until_unread(line: Wire, proxy: Proxy) -> None:
    """Sends until the proxy stops to read; there is still room for more in the kernel."""
    piece = bytes(64 * 1024)
    for _ in range(1024):
        line.send(piece)
        if proxy.unread_of(line) and not eventually(lambda: not proxy.unread_of(line), 0.1):
            return
    raise AssertionError("64 MiB were read, though nobody took them")


def eventually(happened: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)  # the kernel tells of its queues only when asked
    return True


def test_before_its_request_could_go_up(nano: StandIn, start: Start) -> None:
    proxy = start(UPSTREAM_CONNECTIONS=1)
    since = nano.state()["last"]
    with proxy.connect() as first, proxy.connect() as second, proxy.connect() as third:
        ask(first, "standin/slow:60")
        nano.wait_next(since, "body")
        ask(second, "standin/second")
        ask(third, "standin/ok", stream=False)
        second.reset()
        proxy.wait_said("outcome=client_gone")
        first.reset()
        assert third.answer().status == 200
    assert [seen["model"] for seen in nano.requests(since)] == ["standin/slow:60", "standin/ok"]


def test_with_further_requests_behind(nano: StandIn, gateway: Proxy) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask(line, "standin/slow:60")
        ask(line, "standin/never")
        number = nano.wait_next(since, "body")["request"]["number"]
        left = time.monotonic()
        line.close()
        check_noticed(nano, number, left)
    with gateway.connect() as line:
        ask(line, "standin/ok", stream=False)
        line.answer()
    assert "standin/never" not in [seen["model"] for seen in nano.requests(since)]


def test_is_settled_once_and_frees_everything(nano: StandIn, start: Start) -> None:
    proxy = start()
    with proxy.connect() as line:
        ask(line, "standin/ok", stream=False)
        line.answer()
    before = proxy.descriptors()
    since = nano.state()["last"]
    for how in (Wire.close, Wire.reset, Wire.finish_sending):
        with proxy.connect() as line:
            ask(line, "standin/paced:1000:0.02")
            line.head()
            line.piece()
            how(line)
            nano.wait_closed(nano.wait_next(since)["request"]["number"])
            since = nano.state()["last"]
    proxy.wait_said("(?s)(outcome=client_gone.*){3}")
    assert proxy.descriptors() <= before
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit() == 0
    settled = re.findall(r"outcome=(\w+)", proxy.said)
    assert settled == ["complete", "client_gone", "client_gone", "client_gone"]


def test_disturbs_nobody_else(nano: StandIn, gateway: Proxy) -> None:
    with gateway.connect() as stays, gateway.connect() as leaves:
        body = chat("standin/paced:30:0.02")
        stays.send(head_of("POST", CHAT, BOB.headers(("Content-Length", str(len(body))))) + body)
        assert stays.head().status == 200
        ask(leaves, "standin/paced:1000:0.01")
        leaves.head()
        leaves.reset()
        heard = b""
        while piece := stays.piece():
            heard += piece
    assert heard.count(BOB.digest[:8].encode()) == 30
    assert heard.endswith(b"data: [DONE]\n\n")
