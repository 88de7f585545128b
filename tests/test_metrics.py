"""Settled exchanges are counted."""

from __future__ import annotations

from nanogpt_proxy.metrics import Counters


def test_exchanges_are_counted_by_route_status_and_outcome() -> None:
    counters = Counters()
    assert counters.exchanges() == {}
    for _ in range(3):
        counters.count("chat/completions", 200, "complete")
    counters.count("chat/completions", 200, "client_gone")
    counters.count("models", 200, "local")
    assert counters.exchanges() == {
        ("chat/completions", 200, "complete"): 3,
        ("chat/completions", 200, "client_gone"): 1,
        ("models", 200, "local"): 1,
    }


def test_what_is_handed_out_is_a_copy() -> None:
    counters = Counters()
    counters.count("models", 200, "local")
    counters.exchanges().clear()
    assert len(counters.exchanges()) == 1
