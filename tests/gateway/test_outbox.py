"""Writes of one turn are made at its end, in order, and none is lost to a graceful close."""

from __future__ import annotations

import asyncio

from nanogpt_proxy.gateway.outbox import Outbox
from tests.gateway.conftest import turns


class Pipe(asyncio.Transport):
    """Notes all writes in one log."""

    def __init__(self, name: str, log: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self.name = name
        self.log = log
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.log.append((self.name, bytes(data)))

    def is_closing(self) -> bool:
        return self.closed


async def test_writes_are_made_at_the_end_of_the_turn_in_their_order() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[tuple[str, bytes]]()
    a, b = Pipe("a", log), Pipe("b", log)
    outbox.write(a, b"1")
    outbox.write(b, b"2")
    outbox.write(a, b"3")
    assert log == []
    await turns(1)
    assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]
    outbox.write(a, b"4")
    await turns(1)
    assert log[3:] == [("a", b"4")]


async def test_they_can_be_made_at_once_and_are_made_once() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[tuple[str, bytes]]()
    outbox.write(Pipe("a", log), b"1")
    outbox.flush()
    assert log == [("a", b"1")]
    outbox.flush()
    await turns()
    assert log == [("a", b"1")]


async def test_what_closes_gets_no_more() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[tuple[str, bytes]]()
    gone, there = Pipe("gone", log), Pipe("there", log)
    outbox.write(gone, b"1")
    outbox.write(there, b"2")
    gone.closed = True
    await turns()
    assert log == [("there", b"2")]


async def test_a_write_may_bring_about_another() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[tuple[str, bytes]]()
    last = Pipe("last", log)

    class Full(Pipe):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            super().write(data)
            outbox.write(last, b"because of " + bytes(data))

    outbox.write(Full("first", log), b"1")
    await turns()
    assert log == [("first", b"1"), ("last", b"because of 1")]


async def test_each_flush_begins_another_turn() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    before = outbox.turn
    outbox.write(Pipe("a", []), b"1")
    assert outbox.turn == before
    await turns(1)
    assert outbox.turn == before + 1


class Broken(Pipe):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise OSError("no more")

    def abort(self) -> None:
        self.closed = True


async def test_one_write_that_fails_takes_no_other_with_it() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[tuple[str, bytes]]()
    broken = Broken("broken", log)
    outbox.write(broken, b"1")
    outbox.write(Pipe("whole", log), b"2")
    outbox.flush()
    assert log == [("whole", b"2")]
    assert broken.closed
