"""Several requests at once on one connection: answered in order, and only so many."""

from __future__ import annotations

import json

import pytest

from standin.process import StandIn
from tests.functional.running import ALICE, BOB, User
from tests.functional.wire import Wire, head_of

CHAT = "/v1/chat/completions"
HELD = 16
LIVE = head_of("GET", "/health/live")


def call(model: str, user: User = ALICE, **more: object) -> bytes:
    body = json.dumps({"model": f"standin/{model}", **more}).encode()
    return head_of("POST", CHAT, user.headers(("Content-Length", str(len(body))))) + body


def test_answers_come_in_the_order_of_the_requests(nano: StandIn, line: Wire) -> None:
    """However long each takes, whoever answers it, and whoever asked."""
    line.send(
        call("slow:0.2")
        + LIVE
        + call("echo", BOB)
        + head_of("GET", "/v1/nowhere")
        + call("paced:3:0.02", stream=True)
        + head_of("HEAD", "/health/live")
        + call("402")
        + head_of("GET", "/v1/models", ALICE.headers())
        + call("204")
        + call("echo")
    )
    assert line.answer().json["model"] == "standin/slow:0.2"
    assert line.answer().json == {"status": "alive"}
    assert line.answer().json["echo"]["key_sha256"] == BOB.digest
    assert line.answer().status == 404
    assert line.answer().body.endswith(b"data: [DONE]\n\n")
    assert line.answer("HEAD").status == 200
    assert line.answer().status == 402
    assert line.answer().json["object"] == "list"
    assert line.answer().status == 204
    assert line.answer().json["echo"]["key_sha256"] == ALICE.digest


def test_a_request_goes_up_only_after_the_answer_to_the_one_before(
    nano: StandIn, line: Wire
) -> None:
    since = nano.state()["last"]
    line.send(call("slow:0.2") + call("ok"))
    assert [line.answer().status for _ in range(2)] == [200, 200]
    first, second = nano.requests(since)
    assert second["moments"]["received"] > first["moments"]["head"]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_requests_may_be_split_anywhere(line: Wire, size: int) -> None:
    data = (call("echo") + LIVE + call("echo", BOB)) * 2
    for start in range(0, len(data), size):
        line.send(data[start : start + size])
    for _ in range(2):
        assert line.answer().json["echo"]["key_sha256"] == ALICE.digest
        assert line.answer().json == {"status": "alive"}
        assert line.answer().json["echo"]["key_sha256"] == BOB.digest


def busy(nano: StandIn, line: Wire) -> None:
    """A first request, which is being served."""
    since = nano.state()["last"]
    line.send(call("slow:0.2"))
    nano.wait_next(since)


def test_sixteen_are_held_while_one_is_served(nano: StandIn, line: Wire) -> None:
    busy(nano, line)
    line.send(LIVE * HELD)
    assert line.answer().status == 200
    assert [line.answer().status for _ in range(HELD)] == [200] * HELD
    assert line.ask("GET", "/health/live").status == 200


def test_more_are_not_served_and_the_connection_ends(nano: StandIn, line: Wire) -> None:
    busy(nano, line)
    line.send(LIVE * (HELD + 20))
    assert line.answer().status == 200
    answers = [line.answer() for _ in range(HELD)]
    assert {answer.status for answer in answers} == {200}
    assert answers[-1].get("connection") == "close"
    assert line.ended() in ("fin", "reset")


def test_many_that_come_one_after_the_other_are_all_served(line: Wire) -> None:
    for _ in range(5):
        line.send(LIVE * HELD)
        assert [line.answer().status for _ in range(HELD)] == [200] * HELD


def test_who_floods_is_cut_off_and_nanogpt_stops(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    line.send(call("slow:60"))
    number = nano.wait_next(since, "body")["request"]["number"]
    with pytest.raises(OSError):
        for _ in range(1000):
            line.send(call("ok", padding="x" * 60_000))
    nano.wait_closed(number)
    assert len(nano.requests(since)) == 1


def test_an_unfinished_head_behind_a_request_does_no_harm(line: Wire) -> None:
    line.send(call("slow:0.1") + LIVE[:20])
    assert line.answer().status == 200
    line.send(LIVE[20:])
    assert line.answer().status == 200


def test_rubbish_behind_a_request_is_refused_in_its_turn(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    line.send(call("slow:0.1") + b"rubbish\r\n\r\n" + call("ok"))
    assert line.answer().status == 200
    answer = line.answer()
    assert answer.status == 400
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"
    assert len(nano.requests(since)) == 1


def test_nothing_is_served_after_a_last_request(nano: StandIn, line: Wire) -> None:
    since = nano.state()["last"]
    last = call("ok").replace(b"Host:", b"Connection: close\r\nHost:", 1)
    line.send(last + call("ok"))
    assert line.answer().get("connection") == "close"
    assert line.ended() in ("fin", "reset")
    assert len(nano.requests(since)) == 1
