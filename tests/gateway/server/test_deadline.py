"""One timer for many deadlines: the last one counts, and fires once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from nanogpt_proxy.gateway.server.deadline import Deadline
from nanogpt_proxy.gateway.server.handler import Phase


class Handle:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Handle:
        self.handles.append(Handle(when, call))
        return self.handles[-1]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted(
            (handle for handle in self.handles if not handle.cancelled and handle.when <= end),
            key=lambda handle: handle.when,
        ):
            self.handles.remove(due[0])
            self.now = max(self.now, due[0].when)
            due[0].call()
        self.now = end


def start() -> tuple[Loop, Deadline, list[Any]]:
    loop, fired = Loop(), []

    def expired(phase: Phase) -> None:
        fired.append((phase, loop.now - 100))

    return loop, Deadline(cast(asyncio.AbstractEventLoop, loop), expired), fired


def test_it_fires_once_at_its_time() -> None:
    loop, deadline, fired = start()
    deadline.set(Phase.HEAD, 10)
    loop.advance(9.9)
    assert fired == []
    loop.advance(100)
    assert fired == [(Phase.HEAD, 10)]


def test_the_last_one_counts_whether_later_or_sooner() -> None:
    loop, deadline, fired = start()
    deadline.set(Phase.IDLE, 75)
    deadline.set(Phase.BODY, 60)
    deadline.set(Phase.UPSTREAM, 900)
    loop.advance(899)
    assert fired == []
    deadline.set(Phase.IDLE, 5)
    loop.advance(1000)
    assert fired == [(Phase.IDLE, 904)]


def test_moving_it_further_away_leaves_the_timer_alone() -> None:
    loop, deadline, fired = start()
    for _ in range(1000):
        deadline.set(Phase.UPSTREAM, 900)
        loop.advance(0.001)
    assert len(loop.handles) == 1
    loop.advance(2000)
    assert [phase for phase, _ in fired] == [Phase.UPSTREAM]


def test_what_is_cleared_does_not_fire_but_can_be_set_again() -> None:
    loop, deadline, fired = start()
    deadline.set(Phase.BODY, 60)
    deadline.clear()
    loop.advance(100)
    assert fired == []
    deadline.set(Phase.IDLE, 75)
    loop.advance(100)
    assert fired == [(Phase.IDLE, 175)]


def test_a_deadline_may_be_set_while_one_fires() -> None:
    loop = Loop()
    fired: list[Phase] = []

    def expired(phase: Phase) -> None:
        fired.append(phase)
        if phase is Phase.HEAD:
            deadline.set(Phase.LINGER, 2)

    deadline = Deadline(cast(asyncio.AbstractEventLoop, loop), expired)
    deadline.set(Phase.HEAD, 10)
    loop.advance(100)
    assert fired == [Phase.HEAD, Phase.LINGER]


def test_a_closed_one_holds_no_timer() -> None:
    loop, deadline, fired = start()
    deadline.close()
    deadline.set(Phase.LINGER, 2)
    deadline.close()
    loop.advance(100)
    assert fired == []
    assert all(handle.cancelled for handle in loop.handles)
