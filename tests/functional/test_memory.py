"""However large the bodies, the process stays small."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator

import pytest

from standin.process import NeverHappened, StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy
from tests.functional.wire import LAST_CHUNK, Wire, chunk, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"
MIB = 1024 * 1024
LARGE = 200_000_000
GROWTH = 16_000_000
START = b'--b\r\nContent-Disposition: form-data; name="file"; filename="file.wav"\r\n\r\n'
END = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def proxy(start_session: Start) -> Proxy:
    """Has served a request of each kind, so that what it will always need is there."""
    proxy = start_session()
    with proxy.connect() as line:
        upload(line, MIB, "length")
        download(line, "4m")
    return proxy


def grown(proxy: Proxy, before: int) -> int:
    return proxy.memory_peak() - before


def at_rest(proxy: Proxy) -> int:
    proxy.forget_memory_peak()
    return proxy.memory()


def pieces(size: int) -> Iterator[bytes]:
    """A multipart body with a file of so many bytes."""
    yield START
    block = bytes(range(256)) * 1024
    for begin in range(0, size, len(block)):
        yield block[: size - begin]
    yield END


def upload(line: Wire, size: int, coding: str) -> None:
    """Sends a file and checks that NanoGPT got each byte of it."""
    whole = hashlib.sha256()
    length = ("Content-Length", str(len(START) + size + len(END)))
    framing = length if coding == "length" else ("Transfer-Encoding", "chunked")
    pairs = ALICE.headers(framing, kind=MULTIPART)
    line.send(head_of("POST", f"{UPLOAD}?scenario=upload", pairs))
    for piece in pieces(size):
        whole.update(piece)
        line.send(piece if coding == "length" else chunk(piece))
    if coding == "chunked":
        line.send(LAST_CHUNK)
    answer = line.answer()
    assert answer.status == 200
    assert answer.json["upload"]["sha256"] == whole.hexdigest()


def download(line: Wire, size: str, framing: str = "length") -> None:
    body = json.dumps({"model": f"standin/big:{size}:{framing}"}).encode()
    line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)
    head = line.head()
    assert head.status == 200
    if framing == "length":
        line.skip(int(head.get("content-length") or 0))
    else:
        while line.piece():
            pass
        line.until(b"\r\n")


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_large_upload_takes_little_memory(proxy: Proxy, coding: str) -> None:
    before = at_rest(proxy)
    with proxy.connect(timeout=60) as line:
        upload(line, LARGE, coding)
    assert grown(proxy, before) < GROWTH


def test_an_upload_that_nobody_reads_takes_little_memory(nano: StandIn, proxy: Proxy) -> None:
    before = at_rest(proxy)
    length = ("Content-Length", str(LARGE))
    with proxy.connect() as line:
        pairs = ALICE.headers(length, kind=MULTIPART)
        line.send(head_of("POST", f"{UPLOAD}?scenario=never-reads", pairs))
        line.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for piece in pieces(LARGE):
                line.send(piece)
        assert grown(proxy, before) < GROWTH
        line.reset()  # an end behind bytes that nobody reads would not be seen


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_answer_to_a_slow_reader_takes_little_memory(
    nano: StandIn, proxy: Proxy, framing: str
) -> None:
    before = at_rest(proxy)
    since = nano.state()["last"]
    with proxy.connect(timeout=60, receive_buffer=64 * 1024) as line:
        body = json.dumps({"model": f"standin/big:{LARGE}:{framing}"}).encode()
        line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)
        head = line.head()
        number = nano.wait_next(since, "head")["request"]["number"]
        with pytest.raises(NeverHappened):  # NanoGPT waits, not the proxy's memory
            nano.wait_for(number, "answered", timeout=0.5)
        if framing == "length":
            for _ in range(200):
                line.skip(LARGE // 200)
                time.sleep(0.002)  # a slow reader is one who sleeps
        else:
            size = 0
            while piece := line.piece():
                size += len(piece)
            assert size == LARGE
    assert head.status == 200
    assert grown(proxy, before) < GROWTH


def test_a_long_stream_to_a_slow_reader_takes_little_memory(nano: StandIn, proxy: Proxy) -> None:
    before = at_rest(proxy)
    with proxy.connect(receive_buffer=64 * 1024) as line:
        body = b'{"model":"standin/big:50m","stream":true}'
        line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)
        assert line.head().status == 200
        time.sleep(0.5)  # a slow reader is one who sleeps
        last = b""
        while piece := line.piece():
            last = piece
    assert last.endswith(b"data: [DONE]\n\n")
    assert grown(proxy, before) < GROWTH


# Bodies that are held: JSON, all clients together


def begin(line: Wire, size: int, sent: int) -> None:
    """A JSON body of which the rest does not come."""
    line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(size)))))
    line.send(b'{"x":"' + b"x" * (sent - 6))


def whole(size: int) -> bytes:
    start = b'{"model":"standin/ok","x":"'
    return start + b"x" * (size - len(start) - 2) + b'"}'


@pytest.mark.parametrize("leave", [True, False], ids=["one leaves", "one is served"])
def test_clients_wait_when_bodies_fill_the_budget(start: Start, leave: bool) -> None:
    proxy = start(MAX_JSON_BYTES=MIB, MAX_BUFFERED_BYTES="4MiB")
    _meet(proxy)
    holders = [proxy.connect() for _ in range(4)]
    for holder in holders:
        begin(holder, MIB, 200_000)
    with proxy.connect() as late:
        body = whole(MIB)
        late.send(head_of("POST", CHAT, BOB.headers(("Content-Length", str(MIB)))) + body)
        assert late.silent(0.3)
        with proxy.connect() as other:  # what is not held is not delayed
            assert other.ask("GET", "/health/live").status == 200
        if leave:
            holders[0].reset()
        else:
            holders[0].send(b"x" * (MIB - 200_000 - 2) + b'"}')
            assert holders[0].answer().status == 200
        assert late.answer().status == 200
    for holder in holders:
        holder.close()


def _meet(proxy: Proxy) -> None:
    """Lets the users call once, so that later calls are admitted in the order they come in."""
    for user in (ALICE, BOB):
        with proxy.connect() as line:
            assert line.ask("POST", CHAT, user.headers(), whole(100)).status == 200


def test_a_body_of_unknown_length_waits_for_the_most_that_it_can_become(start: Start) -> None:
    proxy = start(MAX_JSON_BYTES=MIB, MAX_BUFFERED_BYTES="2MiB")
    _meet(proxy)
    with proxy.connect() as first, proxy.connect() as second, proxy.connect() as third:
        for line in (first, second, third):
            pairs = ALICE.headers(("Transfer-Encoding", "chunked"))
            line.send(head_of("POST", CHAT, pairs) + chunk(whole(100_000)[:-2]))
        third.send(chunk(b'"}') + LAST_CHUNK)
        assert third.silent(0.3)
        second.send(chunk(b'"}') + LAST_CHUNK)
        assert second.answer().status == 200
        assert third.answer().status == 200
        first.send(chunk(b'"}') + LAST_CHUNK)
        assert first.answer().status == 200


def test_who_waits_too_long_is_told_so(nano: StandIn, start: Start) -> None:
    proxy = start(MAX_JSON_BYTES="32MiB", MAX_BUFFERED_BYTES="32MiB", BODY_TIMEOUT=0.5)
    since = nano.state()["last"]
    with proxy.connect() as holder, proxy.connect() as late:
        body = whole(32 * MIB)
        target = f"{CHAT}?scenario=never-reads"
        pairs = ALICE.headers(("Content-Length", str(len(body))))
        holder.send(head_of("POST", target, pairs) + body)
        nano.wait_next(since)
        pairs = BOB.headers(("Content-Length", str(MIB)))
        late.send(head_of("POST", CHAT, pairs) + whole(MIB))
        answer = late.answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert answer.get("retry-after") is not None
