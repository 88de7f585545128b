"""A refusal that comes before the body: the client can read it, and the rest does no harm."""

from __future__ import annotations

import time

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, STRANGER, Proxy, User
from tests.functional.wire import LAST_CHUNK, PART, Answer, Wire, chunk, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"
KIB, MIB = 1024, 1024 * 1024


def refuse(line: Wire, length: int, *, sent: int = 0, user: User = STRANGER) -> Answer:
    """The answer to the head of an upload that will not be taken."""
    pairs = user.headers(("Content-Length", str(length)), kind=MULTIPART)
    line.send(head_of("POST", UPLOAD, pairs) + bytes(sent))
    return line.answer()


@pytest.mark.parametrize("length", [1, 64 * KIB])
def test_a_short_rest_is_drained_and_the_connection_kept(line: Wire, length: int) -> None:
    answer = refuse(line, length)
    assert answer.status == 401
    assert answer.get("connection") is None
    line.send(bytes(length))
    assert line.ask("GET", "/health/live").status == 200


def test_only_what_is_still_due_counts(line: Wire) -> None:
    """The proxy has read most of the body when it refuses, as it is too large a JSON."""
    body = b'{"x":' + b"1" * 200
    pairs = ALICE.headers(("Transfer-Encoding", "chunked"))
    line.send(head_of("POST", CHAT, pairs) + chunk(body) + LAST_CHUNK)
    answer = line.answer()
    assert answer.status == 400
    assert answer.get("connection") is None
    assert line.ask("GET", "/health/live").status == 200


@pytest.mark.parametrize("length", [64 * KIB + 1, 512 * MIB])
def test_before_a_long_rest_the_connection_ends(line: Wire, length: int) -> None:
    answer = refuse(line, length)
    assert answer.status == 401
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


def test_before_a_rest_of_unknown_length_the_connection_ends(line: Wire) -> None:
    pairs = STRANGER.headers(("Transfer-Encoding", "chunked"), kind=MULTIPART)
    line.send(head_of("POST", UPLOAD, pairs) + chunk(b"x"))
    answer = line.answer()
    assert answer.status == 401
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


def test_a_client_that_waits_for_100_may_send_nothing(line: Wire) -> None:
    """Whether the body will come is unknown, so the connection cannot be kept in step."""
    pairs = STRANGER.headers(("Content-Length", "10"), ("Expect", "100-continue"))
    line.send(head_of("POST", CHAT, pairs))
    answer = line.answer()
    assert answer.status == 401
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


def test_a_client_that_sends_on_can_read_the_answer(gateway: Proxy) -> None:
    """As most clients do: first all of the body, then the answer."""
    for _ in range(20):
        with gateway.connect() as line:
            pairs = STRANGER.headers(("Content-Length", str(MIB)), kind=MULTIPART)
            line.send(head_of("POST", UPLOAD, pairs))
            for _ in range(15):
                line.send(bytes(64 * KIB))
            answer = line.answer()
            assert answer.status == 401
            assert answer.get("connection") == "close"


def test_a_client_that_goes_on_for_long_is_cut_off(gateway: Proxy) -> None:
    with gateway.connect() as line:
        assert refuse(line, 512 * MIB).status == 401
        sent = 0
        with pytest.raises(OSError):
            while sent < 64 * MIB:
                line.send(bytes(64 * KIB))
                sent += 64 * KIB
        assert sent >= MIB


def test_a_client_that_neither_sends_nor_leaves_is_left(start: Start) -> None:
    proxy = start()
    with proxy.connect() as line:
        assert refuse(line, 512 * MIB).status == 401
        assert line.ended() == "fin"
        held, began = proxy.descriptors(), time.monotonic()
        while proxy.descriptors() >= held:
            assert time.monotonic() - began < 4
            time.sleep(0.05)
        assert time.monotonic() - began > 1


def test_what_follows_a_drained_body_is_served_in_order(line: Wire) -> None:
    pairs = STRANGER.headers(("Content-Length", "1000"), kind=MULTIPART)
    following = head_of("GET", "/health/live") + head_of("GET", "/v1/nowhere")
    line.send(head_of("POST", UPLOAD, pairs) + bytes(500))
    assert line.answer().status == 401
    line.send(bytes(500) + following)
    assert [line.answer().status for _ in range(2)] == [200, 404]


def test_a_drained_body_is_no_request(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    smuggled = head_of("POST", CHAT, ALICE.headers(("Content-Length", "2"))) + b"{}"
    pairs = STRANGER.headers(("Content-Length", str(len(smuggled))), kind=MULTIPART)
    line.send(head_of("POST", UPLOAD, pairs))
    assert line.answer().status == 401
    line.send(smuggled + head_of("GET", "/health/live"))
    assert line.answer().json == {"status": "alive"}
    assert nano.state()["last"] == since


def test_a_lingering_body_is_no_request(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    assert refuse(line, 65 * KIB).status == 401
    smuggled = head_of("POST", CHAT, ALICE.headers(("Content-Length", "2"))) + b"{}"
    line.send(bytes(65 * KIB) + smuggled)
    assert line.ended() in ("fin", "reset")
    assert nano.state()["last"] == since


def test_a_drain_that_stalls_ends_the_connection(start: Start) -> None:
    proxy = start(BODY_TIMEOUT=0.2)
    with proxy.connect() as line:
        assert refuse(line, 1000).status == 401
        assert line.ended() == "fin"


@pytest.mark.parametrize("how", ["keep", "hold", "abort"])
def test_a_refusal_of_nanogpts_during_an_upload_is_readable(
    nano: StandIn, gateway: Proxy, how: str
) -> None:
    since = nano.state()["last"]
    target = f"{UPLOAD}?scenario=early-answer:{how}:413"
    with gateway.connect() as line:
        pairs = ALICE.headers(("Content-Length", str(300 * MIB)), kind=MULTIPART)
        line.send(head_of("POST", target, pairs) + PART + bytes(64 * KIB))
        answer = line.answer()
        assert answer.status == 413
        assert answer.json["key_sha256"] == ALICE.digest
        assert answer.get("connection") == "close"
        assert line.ended() == "fin"
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])


def test_a_refusal_of_nanogpts_reaches_a_client_that_still_sends(
    nano: StandIn, gateway: Proxy
) -> None:
    for _ in range(10):
        with gateway.connect() as line:
            target = f"{UPLOAD}?scenario=early-answer:keep:413"
            pairs = ALICE.headers(("Content-Length", str(MIB)), kind=MULTIPART)
            line.send(head_of("POST", target, pairs) + PART)
            for _ in range(15):
                line.send(bytes(64 * KIB))
            assert line.answer().status == 413


def test_a_short_rest_after_an_early_answer_is_drained_too(line: Wire) -> None:
    target = f"{UPLOAD}?scenario=early-answer:keep"
    pairs = ALICE.headers(("Content-Length", str(len(PART) + 30000)), kind=MULTIPART)
    line.send(head_of("POST", target, pairs) + PART + bytes(10000))
    assert line.answer().status == 200
    line.send(bytes(20000))
    assert line.ask("GET", "/health/live").status == 200
