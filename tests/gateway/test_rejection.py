"""A dead key is recognised, marked, and rested; a new one works at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal, StoreUnavailable
from nanogpt_proxy.gateway.rejection import FIRST, LONGEST, Doubt, Rejections, is_about_the_key
from nanogpt_proxy.gateway.upstream import AnswerHead
from nanogpt_proxy.models import Account, Secret
from tests.gateway.conftest import KEY, Answers, Gateway, People, turns

ALICE = Account("1" * 32, "alice@example.com", False, Secret(KEY))
MARKED = replace(ALICE, key_rejected=True)
NEW = replace(ALICE, key=Secret(KEY[:-1] + "0"))
INVALID = (
    b'{"error":{"message":"Invalid session","type":"invalid_api_key",'
    b'"code":"invalid_api_key","status":401}}'
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (INVALID, True),
        (b'{"error":{"code":"missing_api_key"}}', True),
        (b'{"error":{"type":"missing_api_key","message":""}}', True),
        (b'{"error":{"code":"authentication_required"}}', True),
        (b'{"type":"error","error":{"type":"authentication_error","message":"x"}}', True),
        (b'{"error":"Invalid session"}', True),
        (b'{"error":"Invalid session","status":401}', True),
        (b'{"error":"Insufficient balance"}', False),
        (b'{"error":{"code":"team_session_required"}}', False),
        (b'{"error":{"code":["invalid_api_key"]}}', False),
        (b'{"error":{}}', False),
        (b'{"error":null}', False),
        (b"{}", False),
        (b"[]", False),
        (b"", False),
        (b"invalid_api_key", False),
        (b"[" * 5000, False),
    ],
)
def test_the_shapes_of_nanogpt_are_known(body: bytes, expected: bool) -> None:
    assert is_about_the_key(body) is expected


class Rest:
    """Rejections with a clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.people = People()
        self.tasks: list[asyncio.Task[None]] = []
        parts: Any = self
        people: Any = self.people
        self.rejections = Rejections(people, parts)

    def time(self) -> float:
        return self.now

    def create_task(self, work: Any) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    def admits(self, account: Account) -> bool:
        try:
            self.rejections.check(account)
        except Refusal as refusal:
            assert (refusal.status, refusal.code) == (401, "key_rejected")
            return False
        return True

    def answered(self, account: Account, status: int) -> Doubt | None:
        head = AnswerHead()
        head.status = status
        return self.rejections.doubt(account, head)

    def rejected(self, account: Account = ALICE) -> None:
        doubt = self.answered(account, 401)
        assert doubt is not None
        assert isinstance(doubt.hold([INVALID], True), Refusal)


async def test_a_rejected_key_rests_for_longer_and_longer() -> None:
    rest = Rest()
    assert rest.admits(ALICE)
    rest.rejected()
    wait, waits = FIRST, []
    for _ in range(10):
        rest.now += wait - 1
        assert not rest.admits(MARKED)
        rest.now += 1
        assert rest.admits(MARKED), "one tries"
        assert not rest.admits(MARKED), "the others do not"
        rest.rejected(MARKED)
        waits.append(wait)
        wait = min(wait * 2, LONGEST)
    assert waits[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert waits[-1] == LONGEST


async def test_calls_that_were_under_way_do_not_count() -> None:
    rest = Rest()
    for _ in range(5):
        rest.rejected()
    rest.now += FIRST
    assert rest.admits(ALICE)
    await asyncio.gather(*rest.tasks)
    assert rest.people.judged == [(ALICE.id, True)]


async def test_another_key_works_at_once() -> None:
    rest = Rest()
    rest.rejected()
    assert not rest.admits(ALICE)
    assert rest.admits(NEW)
    assert rest.admits(NEW)
    rest.rejected(NEW)
    assert not rest.admits(NEW)


async def test_the_same_key_stored_again_works_at_once() -> None:
    rest = Rest()
    rest.rejected()
    assert not rest.admits(MARKED)
    assert rest.admits(ALICE), "the mark in the store is gone"


async def test_a_key_that_was_marked_elsewhere_is_tried_once_here() -> None:
    rest = Rest()
    assert rest.admits(MARKED)
    assert not rest.admits(MARKED)
    rest.rejected(MARKED)
    rest.now += FIRST
    assert not rest.admits(MARKED)
    rest.now += FIRST
    assert rest.admits(MARKED)


@pytest.mark.parametrize("status", [200, 202, 402])
async def test_an_answer_to_the_key_takes_the_mark_away(status: int) -> None:
    rest = Rest()
    rest.rejected()
    rest.now += FIRST
    assert rest.admits(MARKED)
    assert rest.answered(MARKED, status) is None
    await asyncio.gather(*rest.tasks)
    assert rest.people.judged == [(ALICE.id, True), (ALICE.id, False)]
    assert rest.admits(ALICE)


@pytest.mark.parametrize("status", [200, 400, 402, 403, 404, 429, 500, 503])
async def test_nothing_but_401_marks_a_key(status: int) -> None:
    rest = Rest()
    assert rest.answered(ALICE, status) is None
    assert rest.admits(ALICE)
    assert rest.tasks == []


async def test_a_store_that_fails_is_told_and_the_key_rests(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = Rest()

    async def fail(account: Account, *, rejected: bool) -> None:
        raise StoreUnavailable("the database cannot be used now")

    monkeypatch.setattr(rest.people, "judge_key", fail)
    rest.rejected()
    await rest.rejections.close()
    assert not rest.admits(ALICE)
    assert "cannot write down" in caplog.text
    assert KEY not in caplog.text
    assert ALICE.email not in caplog.text


HEAD = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
CHALLENGE = b"WWW-Authenticate: Bearer theirs\r\n"


def answer(body: bytes) -> bytes:
    return HEAD + CHALLENGE + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_the_answer_is_replaced_and_the_next_call_does_not_go_up(gateway: Gateway) -> None:
    client = gateway.connect(gateway.call() * 2)
    whole = answer(INVALID)
    gateway.upstream.feed(whole[:60], whole[60:-1])
    assert client.sent == b""
    gateway.upstream.feed(whole[-1:])
    answers = Answers(client.sent)
    assert answers.statuses == [401, 401]
    assert [json.loads(body)["error"]["code"] for body in answers.bodies] == ["key_rejected"] * 2
    assert "Invalid session" not in client.sent.decode()
    assert len(gateway.pool.wires) == 1
    assert gateway.outcomes == [("chat/completions", 401, "key_rejected")] * 2
    await turns()
    assert gateway.people.judged == [("1" * 32, True)]
    assert gateway.at_rest()


@pytest.mark.parametrize(
    "body", [b"", b'{"error":{"code":"other"}}', b"x" * 70_000, b'"' + b"x" * 200_000]
)
async def test_another_401_is_passed_on_as_it_is(gateway: Gateway, body: bytes) -> None:
    client = gateway.connect(gateway.call())
    whole = answer(body)
    gateway.upstream.feed(*(whole[at : at + 50_000] for at in range(0, len(whole), 50_000)))
    answers = Answers(client.sent)
    assert (answers.statuses, answers.bodies, answers.whole) == ([401], [body], [True])
    assert answers.headers[0]["www-authenticate"] == "Bearer theirs"
    await turns()
    assert gateway.people.judged == []
    assert gateway.at_rest()


async def test_a_401_that_breaks_off_marks_nothing(gateway: Gateway) -> None:
    client = gateway.connect(gateway.call())
    gateway.upstream.feed(answer(INVALID)[:-1])
    gateway.upstream.end()
    await turns()
    assert Answers(client.sent).statuses == [502]
    assert gateway.people.judged == []
    assert gateway.at_rest()


async def test_whoever_leaves_while_in_doubt_leaves_nothing_behind(gateway: Gateway) -> None:
    client = gateway.connect(gateway.call())
    gateway.upstream.feed(answer(INVALID)[:-1])
    client.close()
    await turns()
    assert gateway.upstream.closed
    assert gateway.people.judged == []
    assert gateway.at_rest()
