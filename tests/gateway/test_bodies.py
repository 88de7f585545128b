"""Bodies that are held within a budget, and bodies that are passed on."""

from __future__ import annotations

from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.bodies import HeldBody, PassedBody
from nanogpt_proxy.gateway.budget import BodyBudget
from nanogpt_proxy.gateway.server import Phase, Request
from tests.gateway.conftest import CLOSING, OPENING, make_settings

KIB = 1024


class Client:
    def __init__(self) -> None:
        self.paused = False
        self.expected: list[Phase] = []

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def expect(self, phase: Phase, seconds: float) -> None:
        self.expected.append(phase)


class Case:
    """One body on its way in."""

    def __init__(self, budget: BodyBudget, length: int | None, most: int = 1000 * KIB) -> None:
        self.budget = budget
        client: Any = Client()
        self.client: Client = client
        self.request = Request()
        self.request.content_length = length
        self.granted = 0
        settings = make_settings(max_json_bytes=most)
        self.held = HeldBody(client, self.request, budget, settings, self._granted)

    def _granted(self) -> None:
        self.granted += 1

    def arrive(self, data: bytes, *, last: bool = False) -> bytes | None:
        self.request.chunks.append(data)
        self.request.received += len(data)
        self.request.complete = last
        return self.held.arrived()


def test_a_body_is_handed_over_when_it_is_whole() -> None:
    budget = BodyBudget(1000 * KIB)
    case = Case(budget, 10)
    assert case.held.arrived() is None
    assert case.arrive(b"hello") is None
    assert case.arrive(b"world", last=True) == b"helloworld"
    assert case.client.expected == [Phase.BODY, Phase.BODY]
    assert budget.free == 1000 * KIB - 10, "it is held until it is released"
    case.held.release()
    case.held.release()
    assert budget.free == 1000 * KIB


def test_what_is_announced_is_reserved_before_it_comes() -> None:
    budget = BodyBudget(1000 * KIB)
    case = Case(budget, 500 * KIB)
    case.arrive(b"x")
    assert budget.free == 500 * KIB
    assert case.held.is_large
    case.held.release()
    assert budget.free == 1000 * KIB


def test_an_unknown_length_reserves_little_then_all_it_may_become() -> None:
    budget = BodyBudget(2000 * KIB)
    case = Case(budget, None)
    case.arrive(b"x" * 60 * KIB)
    assert budget.free == (2000 - 64) * KIB
    assert not case.held.is_large
    case.arrive(b"x" * 60 * KIB)
    assert budget.free == 1000 * KIB
    assert case.arrive(b"x", last=True) == b"x" * (120 * KIB + 1)
    assert budget.free == 2000 * KIB - (120 * KIB + 1)
    case.held.release()
    assert budget.free == 2000 * KIB


def test_without_room_the_client_waits_and_then_goes_on() -> None:
    budget = BodyBudget(100 * KIB)
    first, second = Case(budget, 80 * KIB), Case(budget, 80 * KIB)
    first.arrive(b"x")
    assert second.arrive(b"x") is None
    waits = [second.held.waits_for_room, second.client.paused, second.granted]
    first.held.release()
    waits += [second.held.waits_for_room, second.client.paused, second.granted]
    assert waits == [True, True, 0, False, False, 1]
    assert second.held.arrived() is None
    assert second.arrive(b"y", last=True) == b"xy"


def test_who_waits_in_vain_leaves_the_queue() -> None:
    budget = BodyBudget(100 * KIB)
    first, second, third = (Case(budget, 80 * KIB) for _ in range(3))
    for case in (first, second, third):
        case.arrive(b"x")
    second.held.release()
    first.held.release()
    assert (second.granted, third.granted) == (0, 1)
    third.held.release()
    assert budget.free == 100 * KIB


def test_over_the_cap_is_refused() -> None:
    case = Case(BodyBudget(1000 * KIB), None, most=100)
    case.arrive(b"x" * 100)
    with pytest.raises(Refusal) as caught:
        case.arrive(b"x")
    assert caught.value.status == 413


def passed(*reads: bytes) -> list[bytes]:
    request = Request()
    request.fields = {b"content-type": b"multipart/form-data; boundary=b"}
    body = PassedBody(request, 100)
    out = []
    for number, read in enumerate(reads):
        request.chunks.append(read)
        request.received += len(read)
        request.complete = number == len(reads) - 1
        out.append(body.arrived())
    return out


def test_an_upload_goes_up_in_chunks() -> None:
    assert PassedBody.FRAMING == b"transfer-encoding: chunked\r\n"
    head = b"%x\r\n%b\r\n" % (len(OPENING), OPENING)
    assert passed(OPENING, b"x" * 26, b"", CLOSING) == [
        head,
        b"16\r\n" + b"x" * 22 + b"\r\n",  # the rest might belong to a boundary
        b"",
        b"d\r\nxxxx" + CLOSING + b"\r\n0\r\n\r\n",
    ]
    whole = OPENING + b"x" + CLOSING
    assert passed(whole) == [b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole)]


def test_an_upload_that_is_cut_short_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        passed(OPENING, b"x")
    assert caught.value.status == 400


def test_more_than_allowed_is_refused_as_it_comes() -> None:
    with pytest.raises(Refusal) as caught:
        passed(OPENING, b"x" * 60, b"")
    assert caught.value.status == 413
