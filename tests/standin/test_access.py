"""Keys are judged as NanoGPT judges them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from standin.process import StandIn
from tests.standin.conftest import KEY, chat_body

DEAD = "sk-nano-0000dead-1111-4111-8111-111111111111"


@pytest.fixture
async def stranger(nano: StandIn) -> AsyncIterator[aiohttp.ClientSession]:
    nano.clear()
    async with aiohttp.ClientSession(f"{nano.base_url}/") as session:
        yield session


async def ask(
    stranger: aiohttp.ClientSession, headers: Mapping[str, str], path: str = "chat/completions"
) -> tuple[aiohttp.ClientResponse, dict[str, object]]:
    async with stranger.post(path, json=chat_body("m"), headers=headers) as answer:
        return answer, await answer.json()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        bearer(KEY),
        bearer(KEY.removeprefix("sk-nano-")),
        {"X-Api-Key": KEY},
        {**bearer(KEY), "x-api-key": KEY},
    ],
)
async def test_good_keys_pass(stranger: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    answer, _ = await ask(stranger, headers)
    assert answer.status == 200


@pytest.mark.parametrize("key", [DEAD, "sk-abc123", "sk-nano-mgmt-" + KEY[8:], ""])
async def test_bad_keys_get_the_documented_401(stranger: aiohttp.ClientSession, key: str) -> None:
    answer, said = await ask(stranger, bearer(key))
    assert answer.status == 401
    assert "oauth-protected-resource" in answer.headers["WWW-Authenticate"]
    assert said["error"] == {
        "message": "Invalid session",
        "type": "invalid_api_key",
        "code": "invalid_api_key",
        "status": 401,
    }


async def test_a_bad_key_that_keeps_coming_gets_429(stranger: aiohttp.ClientSession) -> None:
    statuses = [(await ask(stranger, bearer(DEAD)))[0].status for _ in range(4)]
    assert statuses == [401, 401, 401, 429]
    answer, _ = await ask(stranger, bearer(KEY))
    assert answer.status == 200


async def test_messages_use_the_envelope_of_anthropic(stranger: aiohttp.ClientSession) -> None:
    answer, said = await ask(stranger, bearer(DEAD), "messages")
    assert answer.status == 401
    assert said["type"] == "error"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({**bearer(KEY), "x-api-key": KEY[:-1] + "2"}, 400, "conflicting_credentials"),
        (bearer("sk-nano-00000402" + KEY[16:]), 402, "insufficient_balance"),
        (bearer("sk-nano-00000429" + KEY[16:]), 429, "daily_rpd_limit_exceeded"),
        (
            {**bearer("sk-nano-00000403" + KEY[16:]), "Origin": "https://evil.example"},
            403,
            "api_key_origin_not_allowed",
        ),
    ],
)
async def test_other_refusals(
    stranger: aiohttp.ClientSession, headers: dict[str, str], status: int, code: str
) -> None:
    answer, said = await ask(stranger, headers)
    assert answer.status == status
    error = said["error"]
    assert isinstance(error, dict)
    assert error["code"] == code


async def test_a_restricted_key_works_without_an_origin(stranger: aiohttp.ClientSession) -> None:
    answer, _ = await ask(stranger, bearer("sk-nano-00000403" + KEY[16:]))
    assert answer.status == 200


async def test_no_key_but_x402_is_told_what_to_pay(stranger: aiohttp.ClientSession) -> None:
    answer, said = await ask(stranger, {"x-x402": "true"})
    assert answer.status == 402
    assert "payment" in said
