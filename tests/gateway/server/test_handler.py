"""What a connection calls is what an exchange has."""

from __future__ import annotations

import inspect

from nanogpt_proxy.gateway.exchange import Exchange
from nanogpt_proxy.gateway.server.handler import Handler


def test_an_exchange_is_a_handler() -> None:
    called = {name for name, _ in inspect.getmembers(Handler, inspect.isfunction)} - {"__init__"}
    for name in called - {"_no_init_or_replace_init", "__subclasshook__"}:
        expected = list(inspect.signature(getattr(Handler, name)).parameters)
        assert list(inspect.signature(getattr(Exchange, name)).parameters) == expected
