"""One deadline for each connection, moved without touching the timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nanogpt_proxy.gateway.server.handler import Phase


class Deadline:
    """Calls `expired` with the phase that was set last, unless it was set anew or cleared.

    It moves several times in each request, mostly further away: the timer is left as it is, and
    looks again when it fires too early.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[Phase], None]) -> None:
        self._loop = loop
        self._expired = expired
        self.phase: Phase | None = None
        """What the deadline is for; `None` when there is none."""
        self._when = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self._when = when = self._loop.time() + seconds
        if self._timer is None or self._timer_at > when:
            self._arm(when)

    def clear(self) -> None:
        self.phase = None

    def close(self) -> None:
        self.phase = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._fired)

    def _fired(self) -> None:
        self._timer = None
        phase = self.phase
        if phase is None:
            return
        if self._loop.time() < self._when:
            self._arm(self._when)
        else:
            self.phase = None
            self._expired(phase)
