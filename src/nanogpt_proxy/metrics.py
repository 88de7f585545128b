"""Counters of what the gateway did, by route, status and how the exchange ended."""

from __future__ import annotations

from collections import Counter

Key = tuple[str, int, str]


class Counters:
    """Settled exchanges. Labels come from fixed sets, never from what a client sent."""

    def __init__(self) -> None:
        self._exchanges: Counter[Key] = Counter()
        self._anonymous: Counter[tuple[str, bool]] = Counter()

    def count(self, route: str, status: int, outcome: str) -> None:
        self._exchanges[route, status, outcome] += 1

    def exchanges(self) -> dict[Key, int]:
        """How many exchanges of each (route, status, outcome) were settled so far."""
        return dict(self._exchanges)

    def count_anonymous(self, route: str, *, served: bool) -> None:
        """A call without a user came, and was served or not."""
        self._anonymous[route, served] += 1

    def anonymous(self) -> dict[tuple[str, bool], int]:
        """How many calls without a user came so far, by route and whether they were served."""
        return dict(self._anonymous)
