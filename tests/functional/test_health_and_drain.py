"""Whether the proxy is fit for work, and how it stops: nobody new, and nobody thrown out early."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, Proxy
from tests.functional.wire import Wire, events, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
READY = "/health/ready"


def call(model: str, *, stream: bool = False, path: str = CHAT) -> bytes:
    body = json.dumps({"model": f"standin/{model}", "stream": stream}).encode()
    return head_of("POST", path, ALICE.headers(("Content-Length", str(len(body))))) + body


def refused(proxy: Proxy) -> bool:
    try:
        proxy.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def wait_refused(proxy: Proxy) -> None:
    until = time.monotonic() + 5
    while not refused(proxy):
        assert time.monotonic() < until
        time.sleep(0.01)


def stop(proxy: Proxy) -> None:
    proxy.signal(signal.SIGTERM)
    proxy.wait_said("stopping")


def test_readiness_tells_of_a_store_that_does_not_answer(start: Start) -> None:
    proxy = start()
    with proxy.connect() as line:
        assert line.ask("GET", READY).json == {"status": "ready"}
        line.send(call("ok"))
        assert line.answer().status == 200
        database = Path(proxy.environ["DATA_DIR"]) / "nanogpt-proxy.db"
        with closing(sqlite3.connect(database)) as store:
            store.execute("ALTER TABLE meta RENAME TO elsewhere")
        answer = line.ask("GET", READY)
        assert answer.status == 503
        assert answer.json["status"] == "unready"
        assert answer.json["problems"] == ["the store does not answer"]
        assert line.ask("GET", "/health/live").status == 200
        line.send(call("ok"))  # who is known is served from memory
        assert line.answer().status == 200
        with closing(sqlite3.connect(database)) as store:
            store.execute("ALTER TABLE elsewhere RENAME TO meta")
        assert line.ask("GET", READY).status == 200


def test_readiness_tells_of_keys_that_do_not_open(start: Start) -> None:
    proxy = start()
    database = Path(proxy.environ["DATA_DIR"]) / "nanogpt-proxy.db"
    with closing(sqlite3.connect(database)) as store, store:
        store.execute("UPDATE meta SET value = 'npk1.00000000.AAAA'")
    with proxy.connect() as line:
        answer = line.ask("GET", READY)
    assert answer.status == 503
    assert "encryption key" in answer.json["problems"][0]


def test_health_never_asks_nanogpt(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    for path in (READY, "/health/live"):
        answer = line.ask("GET", path)
        assert answer.status == 200
        assert answer.get("cache-control") == "no-store"
    assert nano.state()["last"] == since


def test_told_to_stop_it_is_unready_at_once_and_serves_on_for_a_while(start: Start) -> None:
    proxy = start(DRAIN_DELAY=1)
    with proxy.connect() as before:
        before.ask("GET", "/health/live")
        stop(proxy)
        with proxy.connect() as fresh:
            answer = fresh.ask("GET", READY)
            assert (answer.status, answer.json["problems"]) == (503, ["the proxy is stopping"])
            assert fresh.ask("GET", "/health/live").status == 200
        before.send(call("ok"))
        assert before.answer().status == 200
    assert proxy.wait_exit() == 0


def test_then_nobody_is_accepted_and_running_answers_end_well(nano: StandIn, start: Start) -> None:
    proxy = start()
    since = nano.state()["last"]
    with proxy.connect() as plain, proxy.connect() as stream, proxy.connect() as idle:
        plain.send(call("slow:0.6"))
        stream.send(call("paced:10:0.1", stream=True))
        begun = stream.head()
        idle.ask("GET", "/health/live")
        nano.wait_until(in_flight=2)
        stop(proxy)
        assert idle.ended() == "fin"
        wait_refused(proxy)
        answer = plain.answer()
        assert answer.status == 200
        assert answer.get("connection") == "close"
        assert plain.ended() == "fin"
        stream.body(begun)
        assert begun.body.endswith(b"data: [DONE]\n\n")
        assert stream.ended() == "fin"
    assert proxy.wait_exit() == 0
    assert proxy.said.count("outcome=complete") == 2
    assert len(nano.requests(since)) == 2


def test_what_takes_too_long_is_ended_with_an_error(nano: StandIn, start: Start) -> None:
    proxy = start(DRAIN_SECONDS=0.5)
    since = nano.state()["last"]
    kinds = [
        call("paced:1000:0.02", stream=True),
        call("paced:1000:0.02", stream=True, path="/v1/messages"),
        call("slow:60"),
    ]
    lines = [proxy.connect() for _ in kinds]
    for line, request in zip(lines, kinds, strict=True):
        line.send(request)
    nano.wait_until(in_flight=len(kinds))
    stop(proxy)
    chat, message, plain = (line.answer() for line in lines)
    *_, error, done = events(chat.body)
    assert b'"shutting_down"' in error
    assert done == b"data: [DONE]"
    assert events(message.body)[-1].startswith(b"event: error\n")
    assert (plain.status, plain.code) == (503, "shutting_down")
    assert plain.get("x-should-retry") == "false"
    assert plain.get("connection") == "close"
    for line in lines:
        assert line.ended() == "fin"
        line.close()
    assert proxy.wait_exit() == 0
    for seen in nano.requests(since):
        nano.wait_closed(seen["number"])
    assert proxy.said.count("outcome=") == len(kinds)  # each is settled, and once


def test_a_client_that_does_not_read_cannot_hold_it(start: Start) -> None:
    proxy = start(DRAIN_SECONDS=0.2)
    with proxy.connect(receive_buffer=4096) as line:
        line.send(call("big:64m"))
        line.head()
        began = time.monotonic()
        stop(proxy)
        assert proxy.wait_exit() == 0
        assert time.monotonic() - began < 8
    assert proxy.said.count("outcome=") == 1


def test_nothing_that_waits_behind_is_begun(nano: StandIn, start: Start) -> None:
    proxy = start()
    since = nano.state()["last"]
    with proxy.connect() as line:
        line.send(call("slow:0.4") + call("ok"))
        nano.wait_next(since)
        stop(proxy)
        assert line.answer().get("connection") == "close"
        assert line.ended() in ("fin", "reset")
    assert proxy.wait_exit() == 0
    assert len(nano.requests(since)) == 1


def test_an_upload_that_has_begun_may_end(nano: StandIn, start: Start) -> None:
    proxy = start()
    since = nano.state()["last"]
    start_of = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = start_of + bytes(100_000) + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    with proxy.connect() as line:
        pairs = ALICE.headers(("Content-Length", str(len(body))), kind=kind)
        line.send(head_of("POST", UPLOAD, pairs) + body[:50_000])
        nano.wait_next(since)
        stop(proxy)
        wait_refused(proxy)
        line.send(body[50_000:])
        assert line.answer().status == 200
    assert proxy.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_do_it_stops_at_once(start: Start, number: signal.Signals) -> None:
    proxy = start()
    with proxy.connect() as idle, socket.create_connection((proxy.host, proxy.port)):
        idle.ask("GET", "/health/live")
        began = time.monotonic()
        proxy.signal(number)
        assert proxy.wait_exit() == 0
        assert time.monotonic() - began < 3
        assert idle.ended() == "fin"
