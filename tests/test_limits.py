"""Whether one more request may be made: so far, always."""

from __future__ import annotations

from nanogpt_proxy.limits import Limits
from nanogpt_proxy.models import Account


def test_everybody_is_admitted() -> None:
    limits = Limits()
    account = Account("1", "alice@example.com", False, None)
    tickets = [limits.admit(account) for _ in range(10_000)]
    for ticket in tickets:
        ticket.release()
