"""How many clients may be connected, and who makes room."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, Proxy
from tests.functional.wire import Wire, head_of

CHAT = "/v1/chat/completions"
MOST = 4


@pytest.fixture
def proxy(start: Start) -> Proxy:
    return start(MAX_CONNECTIONS=MOST)


@pytest.fixture
def lines(proxy: Proxy) -> Iterator[list[Wire]]:
    """As many connections as there may be, each of which has asked something."""
    with ExitStack() as stack:
        opened = []
        for _ in range(MOST):
            opened.append(stack.enter_context(proxy.connect()))
            assert live(opened[-1]) == 200
        yield opened


def live(line: Wire) -> int:
    return line.ask("GET", "/health/live").status


def begin(line: Wire, model: str) -> None:
    body = json.dumps({"model": f"standin/{model}"}).encode()
    line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)


def test_who_has_been_idle_for_longest_makes_room(proxy: Proxy, lines: list[Wire]) -> None:
    assert live(lines[0]) == 200  # so the second is the longest idle
    with proxy.connect() as late:
        assert live(late) == 200
        assert lines[1].ended() == "fin"
        assert [live(lines[index]) for index in (0, 2, 3)] == [200] * 3


def test_who_never_asked_makes_room_too(proxy: Proxy) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(proxy.connect()) for _ in range(MOST)]
        for expected in silent:
            late = stack.enter_context(proxy.connect())
            assert live(late) == 200
            assert expected.ended() == "fin"


def test_who_is_served_makes_no_room(nano: StandIn, proxy: Proxy, lines: list[Wire]) -> None:
    for index in (0, 1, 3):
        begin(lines[index], "slow:0.5")
    nano.wait_until(in_flight=3)
    with proxy.connect() as late:
        assert live(late) == 200
        assert lines[2].ended() == "fin"
        assert [lines[index].answer().status for index in (0, 1, 3)] == [200] * 3


def test_with_all_busy_one_more_is_told_so(nano: StandIn, proxy: Proxy, lines: list[Wire]) -> None:
    for line in lines:
        begin(line, "slow:0.5")
    nano.wait_until(in_flight=MOST)
    with proxy.connect() as late:
        answer = late.answer()
        assert (answer.status, answer.code) == (503, "too_many_connections")
        assert answer.get("retry-after") is not None
        assert answer.get("connection") == "close"
        assert late.ended() == "fin"
    assert [line.answer().status for line in lines] == [200] * MOST
    with proxy.connect() as later:
        assert live(later) == 200


def test_one_that_is_told_so_may_send_its_request_first(
    nano: StandIn, proxy: Proxy, lines: list[Wire]
) -> None:
    since = nano.state()["last"]
    for line in lines:
        begin(line, "slow:0.5")
    nano.wait_until(in_flight=MOST)
    for _ in range(10):
        with proxy.connect() as late:
            begin(late, "ok")
            assert late.answer().status == 503
    assert len(nano.requests(since)) == MOST


def limits(proxy: Proxy) -> tuple[str, str]:
    text = Path(f"/proc/{proxy.pid}/limits").read_text()
    found = re.search(r"Max open files\s+(\S+)\s+(\S+)", text)
    assert found
    return found[1], found[2]


def test_the_limit_of_descriptors_is_raised(start: Start) -> None:
    proxy = start("prlimit", "--nofile=64:", MAX_CONNECTIONS=50, UPSTREAM_CONNECTIONS=50)
    soft, hard = limits(proxy)
    assert soft == hard != "64"
    assert "too few file descriptors" not in proxy.said


def test_too_few_descriptors_are_told_and_lived_with(start: Start) -> None:
    proxy = start("prlimit", "--nofile=200:200", MAX_CONNECTIONS=100, UPSTREAM_CONNECTIONS=100)
    proxy.wait_said("too few file descriptors .* limit=200 ")
    with ExitStack() as stack:
        lines = [stack.enter_context(proxy.connect()) for _ in range(150)]
        assert live(lines[-1]) == 200
        assert lines[0].ended() == "fin"
