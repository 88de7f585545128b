"""One request on its way up; `test_exchange` has the story around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.bodies import PassedBody
from nanogpt_proxy.gateway.routes import match
from nanogpt_proxy.gateway.sending import Sending
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request
from nanogpt_proxy.gateway.upstream import Failure
from nanogpt_proxy.models import Secret
from tests.gateway.conftest import CLOSING, KEY, OPENING, Gateway, Wire, turns
from tests.gateway.upstream.conftest import Sink

UPLOAD = b"multipart/form-data; boundary=b"
MATCH = match(b"POST", b"/v1/images?a=b")


class Owner(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.refusal: Refusal | None = None

    def guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Refusal as refusal:
            self.refusal = refusal


class Case:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.request = Request()
        self.request.fields = {b"x-provider": b"p", b"content-type": UPLOAD}
        self.wire = Wire(ClientConnection(gateway.server))
        self.owner = Owner()
        client: Any = self.wire.protocol
        client._current = self.request
        self.request.method = b"POST"
        self.sending = Sending(gateway.context, client, self.request, self.owner)
        self.sending.address(MATCH, Secret(KEY))

    def arrive(self, data: bytes, *, last: bool = False) -> bool:
        self.request.chunks.append(data)
        self.request.received += len(data)
        self.request.complete = last
        return self.sending.body_arrived()


@pytest.fixture
async def case(gateway: Gateway) -> Case:
    return Case(gateway)


async def test_a_whole_request_is_framed_and_sent(case: Case) -> None:
    case.sending.whole(b"{}")
    head, _, body = case.gateway.upstream.sent.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    assert (line, body) == (b"POST /api/v1/images?a=b HTTP/1.1", b"{}")
    assert lines[0] == b"host: nano.example:443" and lines[-1] == b"content-length: 2"
    assert b"x-provider: p" in lines and b"authorization: Bearer " + KEY.encode() in lines
    assert case.sending.went_up


@pytest.mark.parametrize(("method", "framed"), [(b"GET", False), (b"POST", True)])
async def test_one_without_a_body_says_so_where_a_body_is_usual(
    case: Case, method: bytes, framed: bool
) -> None:
    case.request.method = method
    case.sending.whole(b"")
    assert case.gateway.upstream.sent.endswith(b"\r\n\r\n")
    assert (b"content-length: 0\r\n" in case.gateway.upstream.sent) is framed


async def test_it_waits_for_a_connection_and_has_not_gone_up_meanwhile(case: Case) -> None:
    case.gateway.pool.ready = False
    case.sending.whole(b"{}")
    waited = case.sending.went_up
    case.gateway.pool.hand_out()
    assert (waited, case.sending.went_up) == (False, True)
    assert case.gateway.upstream.sent.endswith(b"{}")


async def test_without_a_connection_it_did_not_go_up(case: Case) -> None:
    case.gateway.pool.ready = False
    case.sending.whole(b"{}")
    case.gateway.pool.waiting.pop().upstream_failed(Failure.CONNECT_TIMEOUT)
    assert case.owner.refusal is not None and case.owner.refusal.code == "upstream_unreachable"
    assert not case.sending.went_up


async def test_who_drops_while_waiting_leaves_the_queue(case: Case) -> None:
    case.gateway.pool.ready = False
    case.sending.whole(b"{}")
    case.sending.drop()
    assert case.gateway.pool.waiting == []
    case.sending.upstream_failed(Failure.CONNECT)
    assert case.owner.refusal is None


async def test_a_body_is_passed_on_as_it_comes(case: Case) -> None:
    assert not case.arrive(OPENING)
    case.sending.passing(PassedBody(case.request, 1000))
    start = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(OPENING), OPENING)
    assert case.gateway.upstream.sent.endswith(start)
    assert case.arrive(b"x" * 21)
    assert case.gateway.upstream.sent.endswith(b"\r\n11\r\n" + b"x" * 17 + b"\r\n")
    assert case.arrive(CLOSING, last=True)
    assert case.gateway.upstream.sent.endswith(b"xxxx" + CLOSING + b"\r\n0\r\n\r\n")
    assert not case.arrive(b"beyond")


async def test_an_upload_over_the_cap_is_told_to_its_owner(case: Case) -> None:
    case.gateway.pool.ready = False
    case.sending.passing(PassedBody(case.request, 10))
    case.request.chunks, case.request.received = [b"x" * 11], 11
    case.gateway.pool.hand_out()
    assert case.owner.refusal is not None and case.owner.refusal.status == 413


async def test_the_pace_is_passed_on_both_ways(case: Case) -> None:
    case.request.content_length = 100
    case.sending.passing(PassedBody(case.request, 100))
    states = []
    for step in (case.sending.full, case.sending.drained):
        step()
        states.append(case.wire.paused)
    for step in (case.sending.pause_answer, case.sending.resume_answer):
        step()
        states.append(case.gateway.upstream.paused)
    assert states == [True, False, True, False]
    case.sending.ended()
    case.sending.pause_answer()
    case.sending.resume_answer()
    assert not case.gateway.upstream.paused


async def test_dropping_ends_the_connection(case: Case) -> None:
    case.sending.whole(b"{}")
    case.sending.drop()
    case.sending.drop()
    assert case.gateway.upstream.aborted


async def test_a_request_that_has_not_left_goes_to_another_connection(case: Case) -> None:
    case.sending.whole(b"{}")
    first = case.gateway.upstream
    case.sending.again()
    assert case.gateway.upstream is not first
    assert case.gateway.upstream.sent.endswith(b"\r\n\r\n{}")
    case.gateway.pool.ready = False
    case.sending.again()
    assert not case.sending.went_up


async def test_one_that_is_no_longer_at_hand_is_told_to_its_owner(case: Case) -> None:
    case.request.content_length = 15
    case.sending.passing(PassedBody(case.request, 100))
    case.sending.again()
    assert case.owner.refusal is not None and case.owner.refusal.status == 502
    assert "x-should-retry" not in dict(case.owner.refusal.headers)
    assert not case.sending.went_up


async def test_what_has_left_is_not_held_any_more(case: Case) -> None:
    case.sending.whole(b"x" * 200_000)
    assert case.gateway.upstream.sent
    await turns()
    assert len(case.sending._data) < 1000


async def test_while_nanogpt_does_not_read_the_client_is_not_blamed(case: Case) -> None:
    """What one read brought comes in pieces, some of them after the connection was full."""
    client: Any = case.wire.protocol
    phases = []
    case.sending.passing(PassedBody(case.request, 10_000))
    case.arrive(OPENING)
    phases.append(client._deadline.phase)
    case.sending.full()
    case.arrive(b"b")
    phases.append(client._deadline.phase)
    case.sending.drained()
    phases.append(client._deadline.phase)
    assert phases == [Phase.BODY, Phase.UPSTREAM, Phase.BODY]
