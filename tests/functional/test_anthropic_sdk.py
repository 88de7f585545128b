"""The `anthropic` SDK, sending Open WebUI's headers, gets what NanoGPT answers on /v1/messages."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from standin.process import StandIn
from tests.functional.running import ALICE, DISABLED, STRANGER, Proxy

HI: list[MessageParam] = [{"role": "user", "content": "Grüß Gott, 世界"}]
ANSWER = "Hello from the stand-in. You said: Grüß Gott, 世界"
TOOLS: list[ToolParam] = [
    {"name": "weather", "description": "Tells it.", "input_schema": {"type": "object"}}
]


@pytest.fixture
def claude(gateway: Proxy) -> Iterator[anthropic.Anthropic]:
    """Alice's client, with the token as `x-api-key`; it repeats nothing by itself."""
    with anthropic.Anthropic(
        base_url=gateway.origin,
        api_key=gateway.token,
        default_headers=ALICE.identity,
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture
async def aio(gateway: Proxy) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=gateway.origin,
        api_key=gateway.token,
        default_headers=ALICE.identity,
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture
def since(nano: StandIn) -> int:
    """The number of the last request before this test."""
    return int(nano.state()["last"])


def ask(client: anthropic.Anthropic, model: str = "m", **more: Any) -> Any:
    return client.messages.create(model=model, max_tokens=99, messages=HI, **more)


def envelope(caught: pytest.ExceptionInfo[anthropic.APIStatusError]) -> dict[str, str]:
    """The `error` object inside Anthropic's envelope."""
    body: Any = caught.value.body
    assert body["type"] == "error"
    error: dict[str, str] = body["error"]
    return error


def test_a_message_is_answered_and_paid_by_the_users_key(
    claude: anthropic.Anthropic, gateway: Proxy, nano: StandIn, since: int
) -> None:
    said = ask(claude, system="Be brief.", tools=TOOLS, extra_headers={"anthropic-beta": "b-1"})
    (seen,) = nano.requests(since)
    headers = {name.lower(): value for name, value in seen["headers"]}
    (block,) = said.content
    assert block.type == "text"
    assert block.text == ANSWER
    assert said.usage.output_tokens > 0
    assert seen["key"] == ALICE.key
    assert headers["authorization"] == f"Bearer {ALICE.key}"
    assert "x-api-key" not in headers
    assert headers["anthropic-version"] == claude.default_headers["anthropic-version"]
    assert headers["anthropic-beta"] == "b-1"
    assert not [name for name in headers if "stainless" in name or "openwebui" in name]
    assert gateway.token not in str(seen)
    sent = json.loads(base64.b64decode(seen["body"]["base64"]))
    assert (sent["system"], sent["tools"]) == ("Be brief.", TOOLS)


def test_the_token_as_a_bearer_works_too(gateway: Proxy) -> None:
    with anthropic.Anthropic(
        base_url=gateway.origin, auth_token=gateway.token, default_headers=ALICE.identity
    ) as client:
        assert ask(client).stop_reason == "end_turn"


def test_a_message_streams(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model="m", max_tokens=99, messages=HI) as stream:
        pieces = list(stream.text_stream)
        whole = stream.get_final_message()
    assert len(pieces) > 3
    assert "".join(pieces) == ANSWER
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens > 0


def test_raw_events_come_in_anthropics_order(claude: anthropic.Anthropic) -> None:
    events = claude.messages.create(model="m", max_tokens=99, messages=HI, stream=True)
    kinds = [event.type for event in events]
    kinds = [kind for kind in kinds if kind != "content_block_delta"]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_tokens_are_counted(claude: anthropic.Anthropic, nano: StandIn, since: int) -> None:
    assert claude.messages.count_tokens(model="m", messages=HI).input_tokens > 0
    (seen,) = nano.requests(since)
    assert seen["path"] == "/api/v1/messages/count_tokens"
    assert seen["key"] == ALICE.key


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_stream_that_breaks_off_raises_after_what_came(
    claude: anthropic.Anthropic, how: str
) -> None:
    text = ""
    with pytest.raises(anthropic.APIStatusError, match="it may have been charged") as caught:
        with claude.messages.stream(
            model=f"standin/abrupt:between:{how}", max_tokens=99, messages=HI
        ) as stream:
            for piece in stream.text_stream:
                text += piece
    assert envelope(caught)["type"] == "api_error"
    assert text
    assert ANSWER.startswith(text)


@pytest.mark.parametrize("where", ["event", "chunk", "head"])
def test_a_stream_that_breaks_off_inside_an_event_raises_the_same(
    claude: anthropic.Anthropic, where: str
) -> None:
    with pytest.raises(anthropic.APIStatusError, match="it may have been charged") as caught:
        with claude.messages.stream(
            model=f"standin/abrupt:{where}", max_tokens=99, messages=HI
        ) as stream:
            stream.until_done()
    assert envelope(caught)["type"] == "api_error"


def test_a_stream_that_breaks_off_inside_a_character_is_never_taken_for_whole(
    claude: anthropic.Anthropic,
) -> None:
    # Half a character cannot be taken back, so the SDK may stumble before it sees the error.
    with pytest.raises((anthropic.APIError, ValueError)):
        with claude.messages.stream(
            model="standin/abrupt:utf8", max_tokens=99, messages=HI
        ) as stream:
            stream.until_done()


def test_an_error_in_mid_stream_is_nanogpts_own(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="temporarily unavailable") as caught:
        with claude.messages.stream(
            model="standin/error-frame", max_tokens=99, messages=HI
        ) as stream:
            stream.until_done()
    assert envelope(caught)["type"] == "overloaded_error"


def test_a_wrong_token_is_refused_in_anthropics_words(
    claude: anthropic.Anthropic, nano: StandIn, since: int
) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="nanogpt-proxy token") as caught:
        ask(claude.with_options(api_key="npt-not-this-one-1234"))
    assert envelope(caught)["type"] == "authentication_error"
    assert nano.requests(since) == []


def test_a_user_without_a_key_is_refused_in_anthropics_words(claude: anthropic.Anthropic) -> None:
    nobody = claude.with_options(default_headers=STRANGER.identity)
    with pytest.raises(anthropic.AuthenticationError, match="add-user") as caught:
        nobody.messages.count_tokens(model="m", messages=HI)
    assert envelope(caught)["type"] == "authentication_error"
    assert envelope(caught)["code"] == "key_not_enrolled"


def test_a_disabled_user_is_refused_in_anthropics_words(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.PermissionDeniedError, match="switched off") as caught:
        ask(claude.with_options(default_headers=DISABLED.identity))
    assert envelope(caught)["type"] == "permission_error"


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/messages", "invalid_request_error"),
        ("PUT", "/v1/messages/count_tokens", "invalid_request_error"),
        ("POST", "/v1/messages/batches", "not_found_error"),
    ],
)
def test_what_messages_does_not_serve_is_refused_in_anthropics_words(
    claude: anthropic.Anthropic, method: str, path: str, kind: str
) -> None:
    calls: dict[str, Any] = {"GET": claude.get, "PUT": claude.put, "POST": claude.post}
    with pytest.raises(anthropic.APIStatusError) as caught:
        calls[method](path, cast_to=object)
    assert envelope(caught)["type"] == kind


@pytest.mark.parametrize(
    ("scenario", "kind", "name"),
    [
        ("403", anthropic.PermissionDeniedError, "permission_error"),
        ("429", anthropic.RateLimitError, "rate_limit_error"),
        ("503", anthropic.InternalServerError, ""),
    ],
)
def test_nanogpts_own_refusals_come_as_they_are(
    claude: anthropic.Anthropic, scenario: str, kind: type[anthropic.APIStatusError], name: str
) -> None:
    with pytest.raises(kind) as caught:
        ask(claude, f"standin/{scenario}")
    assert envelope(caught)["type"].startswith(name)
    assert caught.value.response.headers["x-request-id"].startswith("req_standin_")


def test_a_call_that_may_have_been_charged_is_not_repeated(
    claude: anthropic.Anthropic, nano: StandIn, since: int
) -> None:
    with pytest.raises(anthropic.InternalServerError, match="it may have been charged") as caught:
        ask(claude.with_options(max_retries=2), "standin/die-before-head")
    assert envelope(caught)["type"] == "api_error"
    assert len(nano.requests(since)) == 1


def test_a_closed_stream_stops_nanogpt(
    claude: anthropic.Anthropic, nano: StandIn, since: int
) -> None:
    with claude.messages.stream(model="standin/paced:3:1800", max_tokens=99, messages=HI) as stream:
        next(iter(stream))
    nano.wait_next(since, "closed")


async def test_async_messages(aio: anthropic.AsyncAnthropic) -> None:
    whole = await aio.messages.create(model="m", max_tokens=99, messages=HI)
    async with aio.messages.stream(model="m", max_tokens=99, messages=HI) as stream:
        text = await stream.get_final_text()
    counted = await aio.messages.count_tokens(model="m", messages=HI)
    assert whole.content[0].type == "text"
    assert whole.content[0].text == text == ANSWER
    assert counted.input_tokens > 0
    with pytest.raises(anthropic.APIStatusError, match="it may have been charged"):
        async with aio.messages.stream(
            model="standin/abrupt", max_tokens=99, messages=HI
        ) as stream:
            await stream.until_done()
