"""One list for everybody: fresh, else stale, else a quick refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import catalogue
from nanogpt_proxy.gateway.catalogue import Catalogue
from nanogpt_proxy.gateway.upstream import FetchFailed, Pool
from tests.gateway.conftest import turns

MODELS = [{"id": "gpt-5", "object": "model"}, {"id": "openai/gpt-5:thinking", "extra": {"a": [1]}}]
LIST = json.dumps({"object": "list", "data": MODELS}).encode()


class Fetches:
    """Stands for `fetch`: answers at once, or when the test says so."""

    def __init__(self) -> None:
        self.targets: list[bytes] = []
        self.limits: list[int] = []
        self.answer: tuple[int, bytes] | Exception = (200, LIST)
        self.gate: asyncio.Event | None = None

    async def __call__(self, pool: Any, target: bytes, *, limit: int) -> Any:
        self.targets.append(target)
        self.limits.append(limit)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        status, body = self.answer
        return status, [], body


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> Fetches:
    fetches = Fetches()
    monkeypatch.setattr(catalogue, "fetch", fetches)
    return fetches


class Clock:
    """The running loop's clock, which can be moved on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.ahead = 0.0
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + self.ahead)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def lists(fetches: Fetches) -> AsyncIterator[Catalogue]:
    lists = Catalogue(cast(Pool, None), 300)
    yield lists
    await lists.close()


async def test_a_list_is_passed_on_byte_for_byte(lists: Catalogue, fetches: Fetches) -> None:
    assert await lists.listing(b"/models", b"") == LIST
    assert fetches.targets == [b"/models"]
    assert fetches.limits[0] >= 2**20, "but not an endless one"


async def test_it_is_kept_for_everybody_while_fresh(
    lists: Catalogue, fetches: Fetches, clock: Clock
) -> None:
    for _ in range(3):
        await lists.listing(b"/models", b"")
    clock.ahead = 299
    await lists.listing(b"/models", b"")
    assert len(fetches.targets) == 1
    clock.ahead = 301
    await lists.listing(b"/models", b"")
    assert len(fetches.targets) == 2


async def test_many_who_ask_at_once_share_one_flight(lists: Catalogue, fetches: Fetches) -> None:
    fetches.gate = asyncio.Event()
    asking = asyncio.gather(*(lists.listing(b"/models", b"") for _ in range(50)))
    await turns()
    fetches.gate.set()
    assert await asking == [LIST] * 50
    assert len(fetches.targets) == 1


async def test_one_who_leaves_does_not_take_the_flight_along(
    lists: Catalogue, fetches: Fetches
) -> None:
    fetches.gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    first, second = (loop.create_task(lists.listing(b"/models", b"")) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    fetches.gate.set()
    assert await second == LIST
    assert len(fetches.targets) == 1


@pytest.mark.parametrize(
    ("query", "target"),
    [
        (b"", b"/models"),
        (b"detailed=true", b"/models?detailed=true"),
        (b"detailed=false", b"/models?detailed=false"),
        (b"detailed=yes", b"/models"),
        (b"detailed=true&detailed=true", b"/models?detailed=true"),
        (b"type=tts&detailed=true", b"/models?detailed=true&type=tts"),
        (b"detailed=true&type=tts", b"/models?detailed=true&type=tts"),
        (b"detailed=tr%75e", b"/models?detailed=true"),
        (b"cache=1234&user=alice", b"/models"),
        (b"detailed=true%26user=alice", b"/models"),
        (b"\xff=\xff&&&=&a", b"/models"),
        (b"Detailed=true", b"/models"),
    ],
)
async def test_the_known_queries_alone_make_lists_differ(
    query: bytes, target: bytes, lists: Catalogue, fetches: Fetches
) -> None:
    await lists.listing(b"/models", query)
    await lists.listing(b"/models", query)
    assert fetches.targets == [target]


async def test_nobody_fills_the_memory_with_lists(lists: Catalogue, fetches: Fetches) -> None:
    for number in range(300):
        await lists.listing(b"/models", b"detailed=true&x=%d" % number)
    assert len(fetches.targets) == 1


FAILURES: dict[str, tuple[int, bytes] | Exception] = {
    "unreachable": FetchFailed("NanoGPT cannot be reached"),
    "an error": (500, b"{}"),
    "a redirect": (302, LIST),
    "a page": (200, b"<html>"),
    "no list": (200, b'{"error":"x"}'),
    "no object": (200, b"[]"),
    "no entries": (200, b'{"data":null}'),
    "not UTF-8": (200, b'{"data":["\xff"]}'),
    "too deep": (200, b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "empty": (200, b""),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_stale_is_better_than_none(
    failure: tuple[int, bytes] | Exception, lists: Catalogue, fetches: Fetches, clock: Clock
) -> None:
    await lists.listing(b"/models", b"")
    clock.ahead = 10_000
    fetches.answer = failure
    assert await lists.listing(b"/models", b"") == LIST
    assert await lists.model("gpt-5", b"") == b'{"id":"gpt-5","object":"model"}'
    assert len(fetches.targets) == 2, "it is not asked again at once"
    clock.ahead += 6
    assert await lists.listing(b"/models", b"") == LIST
    assert len(fetches.targets) == 3
    fetches.answer = (200, b'{"data":[]}')
    clock.ahead += 6
    assert await lists.listing(b"/models", b"") == b'{"data":[]}'


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_nothing_to_show_is_said_so(
    failure: tuple[int, bytes] | Exception,
    lists: Catalogue,
    fetches: Fetches,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fetches.answer = failure
    for _ in range(3):
        with pytest.raises(Refusal) as caught:
            await lists.listing(b"/models", b"")
        assert (caught.value.status, caught.value.code) == (503, "models_unavailable")
        assert "retry-after" in dict(caught.value.headers)
    assert len(fetches.targets) == 1, "NanoGPT is left alone for some seconds"
    assert len(caplog.records) == 1
    with pytest.raises(Refusal):
        await lists.model("gpt-5", b"")


async def test_halves_of_characters_do_no_harm(
    lists: Catalogue, fetches: Fetches, clock: Clock
) -> None:
    await lists.listing(b"/models", b"")
    clock.ahead = 10_000
    fetches.answer = (200, rb'{"data":[{"id":"\ud800","pipeline":{}}]}')
    assert json.loads(await lists.listing(b"/models", b""))["data"]


@pytest.mark.parametrize("known", [True, False])
async def test_who_asks_is_answered_in_time_come_what_may(
    known: bool, lists: Catalogue, fetches: Fetches, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert catalogue._PATIENCE < 8
    if known:
        await lists.listing(b"/models", b"")
        clock.ahead = 10_000
    fetches.gate = asyncio.Event()
    monkeypatch.setattr(catalogue, "_PATIENCE", 0.02)
    if known:
        assert await lists.listing(b"/models", b"") == LIST
        return
    with pytest.raises(Refusal) as caught:
        await lists.listing(b"/models", b"")
    assert caught.value.status == 503


async def test_pipeline_is_never_passed_on(lists: Catalogue, fetches: Fetches) -> None:
    said = {"data": [{"id": "a", "pipeline": {"type": "pipe"}}, {"id": "b"}], "more": "é"}
    for text in (json.dumps(said), json.dumps(said).replace('"pipeline"', r'"pip\u0065line"')):
        fetches.answer = (200, text.encode())
        path = b"/models" if "\\u0065" in text else b"/image-models"
        told = json.loads(await lists.listing(path, b""))
        assert told == {"data": [{"id": "a"}, {"id": "b"}], "more": "é"}
    assert json.loads(await lists.model("a", b"")) == {"id": "a"}


@pytest.mark.parametrize("name", ["gpt-5", "openai/gpt-5:thinking"])
async def test_one_model_is_an_entry_of_the_list(
    name: str, lists: Catalogue, fetches: Fetches
) -> None:
    found = json.loads(await lists.model(name, b"detailed=true&x=y"))
    assert found in MODELS and found["id"] == name
    assert fetches.targets == [b"/models?detailed=true"]
    await lists.model(name, b"detailed=true")
    assert len(fetches.targets) == 1


@pytest.mark.parametrize("name", ["", "gpt", "GPT-5", "gpt-5/", "data", "../gpt-5"])
async def test_an_unknown_model_is_not_found(name: str, lists: Catalogue) -> None:
    with pytest.raises(Refusal) as caught:
        await lists.model(name, b"")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


async def test_entries_that_are_no_models_do_no_harm(lists: Catalogue, fetches: Fetches) -> None:
    fetches.answer = (200, b'{"data":[null,1,"a",[],{},{"id":7},{"id":"good"}]}')
    assert await lists.listing(b"/models", b"") == fetches.answer[1]
    assert await lists.model("good", b"") == b'{"id":"good"}'


async def test_closing_ends_the_flights(fetches: Fetches) -> None:
    lists = Catalogue(cast(Pool, None), 300)
    fetches.gate = asyncio.Event()
    asking = asyncio.get_running_loop().create_task(lists.listing(b"/models", b""))
    await turns()
    await lists.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
