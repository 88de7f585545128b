"""What the stand-in received, and when; tests read it instead of sleeping."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

KEPT_BODY = 64 * 1024
"""Bodies up to this size are kept; of longer ones only length and hash."""
_KEPT_RECORDS = 20_000
_KEPT_BYTES = 64 * 1024 * 1024

Json = dict[str, Any]


class SeenBody:
    """A body as it comes in: its length and hash always, its bytes while it is short."""

    def __init__(self) -> None:
        self.length = 0
        self.complete = False
        self.kept: bytearray | None = bytearray()
        self._hash = hashlib.sha256()

    def feed(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self._hash.update(chunk)
        if self.kept is not None:
            if self.length > KEPT_BODY:
                self.kept = None
            else:
                self.kept += chunk

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def as_json(self) -> Json:
        kept = None if self.kept is None else base64.b64encode(self.kept).decode()
        return {
            "length": self.length,
            "sha256": self.sha256,
            "base64": kept,
            "complete": self.complete,
        }


@dataclass(eq=False, slots=True)
class Record:
    """One request. Times are `time.monotonic()`, which all processes of a machine share.

    `moments` holds, as far as they came: `received` (the head), `body` (its last byte),
    `head` (ours is written), `answered` (our last byte is written), `closed` (the connection).
    `outcome` is `open`, `answered`, `cut` (we broke it off) or `client_gone`.
    """

    number: int
    connection: int
    turn: int
    method: str
    path: str
    query: str
    version: str
    headers: list[tuple[str, str]]
    request_id: str
    key: str | None = None
    body: SeenBody = field(default_factory=SeenBody)
    parts: list[Json] = field(default_factory=list)
    model: str | None = None
    scenario: str | None = None
    status: int | None = None
    outcome: str = "open"
    moments: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Json:
        names = [name for name in self.__slots__ if name not in ("body", "headers")]
        return {
            **{name: getattr(self, name) for name in names},
            "headers": [list(pair) for pair in self.headers],
            "body": self.body.as_json(),
        }


class Recorder:
    """The requests received, oldest first, and those who wait for something to happen to them."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._by_number: dict[int, Record] = {}
        self._bytes = 0
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.last = 0
        self.in_flight = 0
        self.peak = 0
        self.connections = 0

    def add(self, record: Record) -> None:
        self._records.append(record)
        self._by_number[record.number] = record
        if len(self._records) > _KEPT_RECORDS:
            self._forget_oldest()
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.mark(record, "received")

    def next_number(self) -> int:
        self.last += 1
        return self.last

    def mark(self, record: Record, moment: str) -> None:
        """Note that `moment` has come for `record`; only the first time counts."""
        record.moments.setdefault(moment, time.monotonic())
        if moment == "body" and record.body.kept:
            self._bytes += len(record.body.kept)
            self._make_room()
        self.wake()

    def finish(self, record: Record) -> None:
        self.in_flight -= 1
        self.wake()

    def get(self, number: int) -> Record | None:
        return self._by_number.get(number)

    def since(self, number: int) -> Iterator[Record]:
        return (record for record in self._records if record.number > number)

    def clear(self) -> None:
        """Forget all records; the numbering goes on, so that old numbers stay unambiguous."""
        self._records.clear()
        self._by_number.clear()
        self._bytes = 0
        self.peak = self.in_flight

    async def wait(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Whether `happened` became true within `seconds`."""
        if happened():
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (happened, future)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return happened()
        finally:
            self._waiters.remove(waiter)
        return True

    def wake(self) -> None:
        for happened, future in self._waiters:
            if not future.done() and happened():
                future.set_result(None)

    def _forget_oldest(self) -> None:
        oldest = self._records.popleft()
        self._by_number.pop(oldest.number, None)
        self._bytes -= len(oldest.body.kept or b"")

    def _make_room(self) -> None:
        if self._bytes <= _KEPT_BYTES:
            return
        for record in self._records:
            if record.body.kept is not None and record.body.complete:
                self._bytes -= len(record.body.kept)
                record.body.kept = None
            if self._bytes <= _KEPT_BYTES // 2:
                return
