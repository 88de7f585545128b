"""Bytes of held bodies: never more than there are, and nobody is overtaken."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanogpt_proxy.gateway.budget import BodyBudget


class Taker:
    def __init__(self, budget: BodyBudget, size: int, log: list[Taker] | None = None) -> None:
        self.size = size
        self.served = 0
        self.log = log if log is not None else []
        if budget.take(self, size, self.granted):
            self.granted()

    def granted(self) -> None:
        self.served += 1
        self.log.append(self)


def test_what_fits_is_taken_at_once() -> None:
    budget = BodyBudget(100)
    assert Taker(budget, 60).served == Taker(budget, 40).served == 1
    assert budget.free == 0


def test_what_does_not_fit_waits_for_room() -> None:
    budget = BodyBudget(100)
    Taker(budget, 60)
    waiting = Taker(budget, 41)
    assert (waiting.served, budget.free) == (0, 40)
    budget.give(60)
    assert (waiting.served, budget.free) == (1, 59)


def test_nobody_overtakes_a_large_body_with_small_ones() -> None:
    budget = BodyBudget(100)
    log: list[Taker] = []
    first = Taker(budget, 90, log)
    large, small, tiny = (Taker(budget, size, log) for size in (100, 5, 1))
    assert log == [first]
    budget.give(90)
    assert log == [first, large]
    budget.give(100)
    assert log == [first, large, small, tiny]
    assert budget.free == 94


def test_who_gives_up_makes_room_for_those_behind() -> None:
    budget = BodyBudget(100)
    Taker(budget, 50)
    large, small = Taker(budget, 100), Taker(budget, 50)
    budget.forget(large)
    assert (large.served, small.served, budget.free) == (0, 1, 0)
    budget.forget(large)
    budget.forget(object())
    assert budget.free == 0


def test_who_is_served_may_give_back_at_once() -> None:
    budget = BodyBudget(10)
    order: list[str] = []

    def serve(name: str, size: int) -> Callable[[], None]:
        def granted() -> None:
            order.append(name)
            budget.give(size)

        return granted

    assert budget.take("holder", 10, serve("holder", 10))
    for name in ("a", "b", "c"):
        assert not budget.take(name, 8, serve(name, 8))
    budget.give(10)
    assert (order, budget.free) == (["a", "b", "c"], 10)


class Clients(RuleBasedStateMachine):
    """Any order of taking, giving up and giving back keeps the account and the order."""

    TOTAL = 100

    def __init__(self) -> None:
        super().__init__()
        self.budget = BodyBudget(self.TOTAL)
        self.log: list[Taker] = []
        self.wanted: list[Taker] = []

    @rule(size=st.integers(0, TOTAL))
    def take(self, size: int) -> None:
        self.wanted.append(Taker(self.budget, size, self.log))

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        taker = data.draw(st.sampled_from(self.log))
        self.log.remove(taker)
        self.wanted.remove(taker)
        self.budget.give(taker.size)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiting = [taker for taker in self.wanted if not taker.served]
        if waiting:
            taker = data.draw(st.sampled_from(waiting))
            self.wanted.remove(taker)
            self.budget.forget(taker)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.budget.free == self.TOTAL - sum(taker.size for taker in self.log)
        assert self.budget.free >= 0

    @invariant()
    def served_in_order(self) -> None:
        served = [taker.served for taker in self.wanted]
        assert served == sorted(served, reverse=True)
        assert set(served) <= {0, 1}

    @invariant()
    def nobody_waits_for_room_that_is_there(self) -> None:
        waiting = [taker for taker in self.wanted if not taker.served]
        assert not waiting or waiting[0].size > self.budget.free


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=40, stateful_step_count=30)
