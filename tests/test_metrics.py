"""Counters."""

from __future__ import annotations

from nanogpt_proxy.metrics import Counters


def test_settled_exchanges_are_counted_by_how_they_ended() -> None:
    counters = Counters()
    counters.count("models", 200, "local")
    counters.count("models", 200, "local")
    counters.count("embeddings", 401, "identity_missing")
    assert counters.exchanges() == {
        ("models", 200, "local"): 2,
        ("embeddings", 401, "identity_missing"): 1,
    }


def test_calls_without_a_user_are_counted_served_or_not() -> None:
    counters = Counters()
    counters.count_anonymous("embeddings", served=True)
    counters.count_anonymous("embeddings", served=False)
    counters.count_anonymous("embeddings", served=False)
    assert counters.anonymous() == {("embeddings", True): 1, ("embeddings", False): 2}
