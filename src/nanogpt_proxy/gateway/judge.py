"""Hop 6: reads bodies that take longer beside all other work."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time

from nanogpt_proxy.gateway.json_body import Scanner
from nanogpt_proxy.gateway.members import Members

_TURN = 0.004  # seconds that a large body may keep the event loop before others have their turn


class Judge:
    """Judges bodies that take longer, a few milliseconds of one body between all other work.

    The one that has taken the least time so far is next: one made to take long holds up no other.
    """

    def __init__(self) -> None:
        # Seconds spent so far, a number that makes equals differ, the work, and its end.
        self._open: list[tuple[float, int, Scanner, asyncio.Future[None]]] = []
        self._number = itertools.count()
        self._work: asyncio.Task[None] | None = None

    async def check(self, body: bytes, members: Members) -> None:
        """`members` is told of those of the outermost object. Raises `Refusal` (400)."""
        verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._open, (0.0, next(self._number), Scanner(body, members), verdict))
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._judge())
        await verdict

    async def _judge(self) -> None:
        while self._open:
            self._turn(*heapq.heappop(self._open))
            await asyncio.sleep(0)
        self._work = None

    def _turn(
        self, spent: float, number: int, scanner: Scanner, verdict: asyncio.Future[None]
    ) -> None:
        if verdict.done():  # nobody waits for it any more
            return
        start = time.monotonic()
        try:
            while scanner.step():
                took = time.monotonic() - start
                if took >= _TURN:
                    heapq.heappush(self._open, (spent + took, number, scanner, verdict))
                    return
        except Exception as error:  # a refusal, or a fault of ours: whoever waits is told
            verdict.set_exception(error)
        else:
            verdict.set_result(None)
