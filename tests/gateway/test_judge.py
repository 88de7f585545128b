"""Large bodies are judged beside all other work, and hold up nobody."""

from __future__ import annotations

import asyncio

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import judge as judge_module
from nanogpt_proxy.gateway.json_body import AT_ONCE, Scanner, check
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.members import Members
from tests.gateway.test_json_body import LARGE


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
async def test_a_large_body_gives_way_to_everything_else(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    monkeypatch.setattr(judge_module, "time", clock)
    steps = 0
    step = Scanner.step

    def counted(scanner: Scanner) -> bool:
        nonlocal steps
        steps += 1
        clock.now += 0.001
        return step(scanner)

    monkeypatch.setattr(Scanner, "step", counted)
    body = body[: len(body) // 4] + b"\x01"  # a quarter of it, with a fault at its end
    task = asyncio.get_running_loop().create_task(_judged(Judge(), body))
    before = longest = 0
    while not task.done():
        await asyncio.sleep(0)
        longest, before = max(longest, steps - before), steps
    assert not await task
    assert longest <= judge_module._TURN / 0.001 + 1


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


async def _judged(judge: Judge, body: bytes) -> bool:
    try:
        await judge.check(body, Members())
    except Refusal:
        return False
    return True


async def test_a_body_that_takes_long_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(judge_module, "time", clock)
    step = Scanner.step

    def counted(scanner: Scanner) -> bool:
        clock.now += 1
        return step(scanner)

    monkeypatch.setattr(Scanner, "step", counted)
    judge = Judge()
    ended: list[str] = []

    async def judged(name: str, size: int) -> None:
        await judge.check(b'{"a":"' + b"x" * size + b'"}', Members())
        ended.append(name)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(judged("long", 4 * AT_ONCE))
        await asyncio.sleep(0)
        for number in range(3):
            group.create_task(judged(f"short {number}", 1000))
    assert ended == ["short 0", "short 1", "short 2", "long"]


async def test_a_fault_in_judging_is_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scanner: Scanner) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Scanner, "step", broken)
    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await Judge().check(b"{}", Members())


async def test_who_leaves_while_waiting_for_the_judge_holds_nobody_up() -> None:
    judge = Judge()
    body = b'{"a":"' + b"x" * (4 * AT_ONCE) + b'"}'
    first, second, third = (
        asyncio.get_running_loop().create_task(_judged(judge, body)) for _ in range(3)
    )
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    assert await third


def test_what_would_take_long_is_left_to_the_judge() -> None:
    deep = b'{"a":' + b'[{"b":' * 3000 + b"1" + b"}]" * 3000 + b"}"
    assert len(deep) < AT_ONCE
    assert check(deep) is False
    assert check(b'{"a":"' + b"x" * AT_ONCE + b'"}') is False
    assert check(rb'{"lone":"\ud800"}') is True
