"""What is written down of a settled exchange; `test_exchange` reads the lines of real ones."""

from __future__ import annotations

import pytest

from nanogpt_proxy.gateway.reply import Reply
from nanogpt_proxy.gateway.report import Report
from nanogpt_proxy.gateway.routes import UNKNOWN, match
from nanogpt_proxy.gateway.server import ClientConnection, Request
from nanogpt_proxy.models import Account
from tests.gateway.conftest import Gateway


async def settle(gateway: Gateway, report: Report, path: bytes, account: Account | None) -> None:
    request = Request()
    request.method, request.received = b"GET", 7
    reply = Reply(ClientConnection(gateway.server), request, gateway.context.next_id)
    reply.status, reply.sent = 200, 99
    route = match(b"GET", path).route if path else UNKNOWN
    report.settled("local", route=route, account=account, request=request, reply=reply)


async def test_it_is_counted_and_logged(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(gateway.context.loop, "time", lambda: now)
    report = Report(gateway.context)
    now = 101.5
    report.first_byte()
    now = 102.25
    alice = gateway.people.known[gateway.EMAIL]
    await settle(gateway, report, b"/v1/models", alice)
    assert alice is not None
    assert gateway.log.lines == [
        {
            "request_id": gateway.log.lines[0]["request_id"],
            "account": gateway.context.pseudonyms.logged(alice),
            "method": "GET",
            "route": "models",
            "status": 200,
            "outcome": "local",
            "ms": 2250.0,
            "first_byte_ms": 1500.0,
            "sent": 99,
            "received": 7,
        }
    ]
    assert gateway.counters.exchanges() == {("models", 200, "local"): 1}


async def test_without_an_answer_and_without_a_user_it_says_so(gateway: Gateway) -> None:
    await settle(gateway, Report(gateway.context), b"", None)
    (line,) = gateway.log.lines
    assert (line["account"], line["first_byte_ms"], line["route"]) == (None, None, "unknown")


async def test_health_is_counted_and_not_logged(gateway: Gateway) -> None:
    for path in (b"/health/live", b"/health/ready"):
        await settle(gateway, Report(gateway.context), path, None)
    assert gateway.log.lines == []
    assert len(gateway.counters.exchanges()) == 2


async def test_nothing_is_logged_where_nobody_wants_it(gateway: Gateway) -> None:
    gateway.context.access_log = None
    await settle(gateway, Report(gateway.context), b"/v1/models", None)
    assert len(gateway.counters.exchanges()) == 1
