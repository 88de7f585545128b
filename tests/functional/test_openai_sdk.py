"""The `openai` SDK, sending Open WebUI's headers, gets what NanoGPT answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall, ChatCompletionToolParam

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, DISABLED, KEYLESS, STRANGER, Proxy, User

HI: Any = [{"role": "user", "content": "Grüß Gott, 世界"}]
ANSWER = "Hello from the stand-in. You said: Grüß Gott, 世界"
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": "Does what its name says. " * 20,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for number in range(25)
]


@pytest.fixture
def oai(gateway: Proxy) -> Iterator[openai.OpenAI]:
    """Alice's client; it repeats nothing by itself."""
    with openai.OpenAI(
        base_url=gateway.base_url,
        api_key=gateway.token,
        default_headers=ALICE.identity,
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture
async def aio(gateway: Proxy) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url,
        api_key=gateway.token,
        default_headers=ALICE.identity,
        max_retries=0,
    ) as client:
        yield client


@pytest.fixture
def since(nano: StandIn) -> int:
    """The number of the last request before this test."""
    return int(nano.state()["last"])


def received_json(seen: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(seen["body"]["base64"]))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Chat


def test_chat_answers_with_usage_price_and_request_id(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    said = oai.chat.completions.create(model="openai/gpt-5.1", messages=HI, temperature=0.5)
    (seen,) = nano.requests(since)
    assert said.choices[0].message.content == ANSWER
    assert said.choices[0].finish_reason == "stop"
    assert said.usage is not None
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert said.model_extra is not None
    assert said.model_extra["x_nanogpt_pricing"]["currency"] == "USD"
    assert said._request_id == seen["request_id"]
    assert seen["key"] == ALICE.key
    assert received_json(seen) == {"messages": HI, "model": "openai/gpt-5.1", "temperature": 0.5}


def test_chat_streams_each_piece_in_order_and_the_usage_at_its_end(oai: openai.OpenAI) -> None:
    parts = list(
        oai.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(part.choices[0].delta.content or "" for part in parts) == ANSWER
    assert [part.choices[0].finish_reason for part in parts][-2:] == [None, "stop"]
    assert [part.usage is not None for part in parts] == [False] * (len(parts) - 1) + [True]


def test_a_piece_comes_while_the_next_is_still_thought_about(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    """The answer takes an hour; its first words are here at once."""
    with oai.chat.completions.create(
        model="standin/paced:3:1800", messages=HI, stream=True
    ) as stream:
        next(stream)
    nano.wait_next(since, "closed")


def test_chat_calls_tools(oai: openai.OpenAI, nano: StandIn, since: int) -> None:
    whole = oai.chat.completions.create(model="standin/tools", messages=HI, tools=TOOLS)
    parts = oai.chat.completions.create(
        model="standin/tools", messages=HI, tools=TOOLS, stream=True
    )
    deltas = [call for part in parts for call in part.choices[0].delta.tool_calls or ()]
    calls = whole.choices[0].message.tool_calls or []
    assert [call.type for call in calls] == ["function"]
    assert isinstance(calls[0], ChatCompletionMessageFunctionToolCall)
    assert calls[0].function.name == "weather"
    assert json.loads(calls[0].function.arguments) == {"city": "Köln"}
    streamed = "".join((delta.function and delta.function.arguments) or "" for delta in deltas)
    assert streamed == calls[0].function.arguments
    assert all(received_json(seen)["tools"] == TOOLS for seen in nano.requests(since))


@pytest.mark.parametrize(
    "scenario", ["crlf", "split-utf8", "comments", "dribble", "one-write", "gzip", "until-close"]
)
def test_a_stream_reads_the_same_however_its_bytes_come(oai: openai.OpenAI, scenario: str) -> None:
    parts = oai.chat.completions.create(model=f"standin/{scenario}", messages=HI, stream=True)
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    whole = oai.chat.completions.create(model=f"standin/{scenario}", messages=HI)
    assert text == (whole.choices[0].message.content or "").rstrip()


def test_plain_completions(oai: openai.OpenAI) -> None:
    whole = oai.completions.create(model="m", prompt="Once upon")
    parts = oai.completions.create(model="m", prompt="Once upon", stream=True)
    assert whole.choices[0].text.endswith("You said: Once upon")
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


# Everything else that NanoGPT does


def test_embeddings_in_both_encodings(oai: openai.OpenAI) -> None:
    packed = oai.embeddings.create(model="m", input=["ä", "b", "ä"])
    plain = oai.embeddings.create(
        model="m", input=["ä", "b", "ä"], encoding_format="float", dimensions=16
    )
    assert [row.index for row in packed.data] == [0, 1, 2]
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert packed.data[0].embedding == plain.data[0].embedding[:8]
    assert len(plain.data[0].embedding) == 16
    assert packed.usage.total_tokens > 0


def test_images_are_generated(oai: openai.OpenAI) -> None:
    inline = oai.images.generate(model="hidream", prompt="fox", n=2)
    linked = oai.images.generate(model="hidream", prompt="fox", response_format="url")
    assert inline.data is not None
    assert linked.data is not None
    pixels = [base64.b64decode(image.b64_json or "") for image in inline.data]
    assert [pixel[:4] for pixel in pixels] == [b"\x89PNG"] * 2
    assert (linked.data[0].url or "").startswith("https://images.example/")


def test_images_are_edited_with_several_files_and_a_mask(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    files = {name: os.urandom(300_000) for name in ("one.png", "zwei ß.png", "mask.png")}
    done = oai.images.edit(
        model="standin/ok",
        prompt="Füge einen Fuchs hinzu",
        image=[("one.png", files["one.png"]), ("zwei ß.png", files["zwei ß.png"])],
        mask=("mask.png", files["mask.png"]),
        n=2,
    )
    (seen,) = nano.requests(since)
    sent = [part for part in seen["parts"] if "filename" in part]
    texts = {part["name"]: part["text"] for part in seen["parts"] if "text" in part}
    assert len(done.data or ()) == 2
    assert [part["sha256"] for part in sent] == [sha256(data) for data in files.values()]
    assert {part["filename"] for part in sent} == {"file.png"}
    assert texts == {"prompt": "Füge einen Fuchs hinzu", "model": "standin/ok", "n": "2"}
    assert seen["key"] == ALICE.key


def test_speech_is_streamed_to_a_file(oai: openai.OpenAI, tmp_path: Path) -> None:
    text = "Guten Tag. " * 200
    sized, chunked = tmp_path / "sized.mp3", tmp_path / "chunked.mp3"
    create = oai.audio.speech.with_streaming_response.create
    with create(model="tts-1", voice="alloy", input=text) as sound:
        assert sound.headers["content-type"] == "audio/mpeg"
        assert sound.headers["x-cost"] == "0.0012"
        assert "content-length" in sound.headers
        sound.stream_to_file(sized)
    more = {"stream": True}
    with create(model="tts-1", voice="alloy", input=text, extra_body=more) as sound:
        assert "content-length" not in sound.headers
        sound.stream_to_file(chunked)
    expected = hashlib.sha256(text.encode()).digest() * 32 * len(text)
    assert sized.read_bytes() == chunked.read_bytes() == expected


def test_speech_that_breaks_off_is_no_whole_file(oai: openai.OpenAI) -> None:
    create = oai.audio.speech.with_streaming_response.create
    with pytest.raises(Exception, match="without sending complete message body"):
        with create(model="standin/abrupt", voice="alloy", input="Guten Tag") as sound:
            sound.read()


def test_a_recording_is_transcribed(
    oai: openai.OpenAI, nano: StandIn, since: int, tmp_path: Path
) -> None:
    recording = tmp_path / "aufnahme.mp3"
    recording.write_bytes(os.urandom(3_000_000))
    with recording.open("rb") as file:
        heard = oai.audio.transcriptions.create(model="Whisper-Large-V3", file=file, language="de")
    (seen,) = nano.requests(since)
    texts = {part["name"]: part["text"] for part in seen["parts"] if "text" in part}
    assert heard.text == f"The stand-in heard {sha256(recording.read_bytes())}"
    assert [part["filename"] for part in seen["parts"] if "filename" in part] == ["file.mp3"]
    assert texts == {"model": "Whisper-Large-V3", "language": "de"}


def test_moderations(oai: openai.OpenAI) -> None:
    assert not oai.moderations.create(input="fine").results[0].flagged


# Responses


def test_a_response_is_made_read_again_and_deleted(oai: openai.OpenAI) -> None:
    made = oai.responses.create(model="m", input="Guten Tag")
    assert made.output_text.endswith("You said: Guten Tag")
    assert oai.responses.retrieve(made.id).output_text == made.output_text
    oai.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match=f"Response {made.id} not found"):
        oai.responses.retrieve(made.id)


def test_a_response_streams(oai: openai.OpenAI) -> None:
    with oai.responses.stream(model="m", input="Guten Tag") as stream:
        events = list(stream)
        reply = stream.get_final_response()
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert "".join(deltas) == reply.output_text
    assert events[-1].type == "response.completed"
    assert numbers == sorted(numbers)
    assert reply.usage is not None
    assert reply.usage.output_tokens > 0


def test_a_response_that_breaks_off_ends_in_an_error_event(oai: openai.OpenAI) -> None:
    events = list(oai.responses.create(model="standin/abrupt", input="hi", stream=True))
    assert events[-1].type == "error"
    assert events[-1].code == "upstream_disconnected"
    assert "response.completed" not in [event.type for event in events]


def test_nobody_reads_or_deletes_anothers_response(oai: openai.OpenAI) -> None:
    made = oai.responses.create(model="m", input="private")
    bob = oai.with_options(default_headers=BOB.identity)
    with pytest.raises(openai.NotFoundError):
        bob.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        bob.responses.delete(made.id)
    assert oai.responses.retrieve(made.id).id == made.id


# Models


def test_models_are_listed_and_found_by_ids_with_slashes(oai: openai.OpenAI) -> None:
    listed = {model.id: model for model in oai.models.list()}
    for name in ("openai/gpt-5.1", "moonshotai/kimi-k2.5:thinking"):
        assert oai.models.retrieve(name) == listed[name]
    assert all("pipeline" not in (model.model_extra or {}) for model in listed.values())
    with pytest.raises(openai.NotFoundError, match="There is no such model"):
        oai.models.retrieve("nobody/nothing")


# Errors


def test_a_wrong_token_is_an_authentication_error(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="nanogpt-proxy token") as caught:
        oai.with_options(api_key="npt-not-this-one-1234").models.list()
    assert caught.value.code == "connection_token_wrong"


@pytest.mark.parametrize("user", [STRANGER, KEYLESS], ids=["stranger", "keyless"])
def test_a_user_without_a_key_is_an_authentication_error(
    oai: openai.OpenAI, nano: StandIn, since: int, user: User
) -> None:
    nobody = oai.with_options(default_headers=user.identity)
    with pytest.raises(openai.AuthenticationError, match="add-user") as caught:
        nobody.chat.completions.create(model="m", messages=HI)
    assert caught.value.code == "key_not_enrolled"
    assert nano.requests(since) == []


def test_nobody_asking_is_an_authentication_error(gateway: Proxy) -> None:
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.token, max_retries=0) as plain:
        wanted = "ENABLE_FORWARD_USER_INFO_HEADERS=true"
        with pytest.raises(openai.AuthenticationError, match=wanted) as caught:
            plain.chat.completions.create(model="m", messages=HI)
        assert caught.value.code == "identity_missing"
        assert list(plain.models.list())


def test_a_disabled_user_is_a_permission_error(oai: openai.OpenAI) -> None:
    disabled = oai.with_options(default_headers=DISABLED.identity)
    with pytest.raises(openai.PermissionDeniedError, match="switched off") as caught:
        disabled.chat.completions.create(model="m", messages=HI)
    assert caught.value.code == "user_disabled"


def test_what_is_not_served_is_a_not_found_error(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    for call in (oai.files.list, oai.batches.list, oai.fine_tuning.jobs.list):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "unknown_path"
    assert nano.requests(since) == []


@pytest.mark.parametrize(
    ("scenario", "kind", "message"),
    [
        ("402", openai.APIStatusError, "402"),
        ("403", openai.PermissionDeniedError, "Your plan does not include this model"),
        ("429", openai.RateLimitError, "Daily request limit exceeded"),
        ("500", openai.InternalServerError, "Internal server error"),
        ("503", openai.InternalServerError, "temporarily unavailable"),
        ("html-error", openai.InternalServerError, "502"),
        ("model_not_supported", openai.BadRequestError, "is not supported"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_nanogpts_own_refusals_come_as_they_are(
    oai: openai.OpenAI, scenario: str, kind: type[openai.APIStatusError], message: str, stream: bool
) -> None:
    with pytest.raises(kind, match=message) as caught:
        oai.chat.completions.create(model=f"standin/{scenario}", messages=HI, stream=stream)
    answer = caught.value.response
    assert (caught.value.request_id or "").startswith("req_standin_")
    if scenario == "429":
        assert answer.headers["retry-after"] == "7"
        assert caught.value.code == "daily_rpd_limit_exceeded"


def test_an_error_in_mid_stream_raises_after_what_came(oai: openai.OpenAI) -> None:
    text = ""
    with pytest.raises(openai.APIError, match="Service temporarily unavailable"):
        for part in oai.chat.completions.create(
            model="standin/error-frame", messages=HI, stream=True
        ):
            text += part.choices[0].delta.content or ""
    assert text
    assert ANSWER.startswith(text)


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_stream_that_breaks_off_raises_after_what_came(oai: openai.OpenAI, how: str) -> None:
    text = ""
    with pytest.raises(openai.APIError, match="it may have been charged") as caught:
        for part in oai.chat.completions.create(
            model=f"standin/abrupt:between:{how}", messages=HI, stream=True
        ):
            text += part.choices[0].delta.content or ""
    assert caught.value.code == "upstream_disconnected"
    assert text
    assert ANSWER.startswith(text)


@pytest.mark.parametrize("where", ["event", "utf8", "chunk"])
def test_a_stream_that_breaks_off_inside_an_event_is_never_taken_for_whole(
    oai: openai.OpenAI, where: str
) -> None:
    # Half an event cannot be taken back, so the SDK may stumble over it before it sees the error.
    with pytest.raises((openai.APIError, ValueError)):
        list(oai.chat.completions.create(model=f"standin/abrupt:{where}", messages=HI, stream=True))


# What the SDK repeats by itself, and what it must not


@pytest.mark.parametrize("how", ["0:fin", "0:reset", "0.1:fin"])
def test_a_call_that_may_have_been_charged_is_not_repeated(
    oai: openai.OpenAI, nano: StandIn, since: int, how: str
) -> None:
    patient = oai.with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError, match="it may have been charged") as caught:
        patient.chat.completions.create(model=f"standin/die-before-head:{how}", messages=HI)
    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(nano.requests(since)) == 1


def test_an_upload_that_may_have_been_charged_is_not_repeated(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    patient = oai.with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError, match="it may have been charged"):
        patient.audio.transcriptions.create(
            model="w", file=("a.mp3", b"x" * 100_000), extra_query={"scenario": "die-before-head"}
        )
    assert len(nano.requests(since)) == 1


def test_a_call_that_nanogpt_left_unanswered_is_not_repeated(
    start: Start, oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    hasty = start(FIRST_BYTE_TIMEOUT=0.2)
    patient = oai.with_options(base_url=hasty.base_url, max_retries=2)
    with pytest.raises(openai.InternalServerError, match="did not answer in time") as caught:
        patient.chat.completions.create(model="standin/slow:3600", messages=HI)
    assert caught.value.status_code == 504
    assert len(nano.requests(since)) == 1


def test_a_call_that_never_reached_nanogpt_is_repeated_by_the_sdk(start: Start) -> None:
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(socket.socket())
        place.bind(("127.0.0.1", 0))  # and listens not: whoever connects is refused
        port = place.getsockname()[1]
        proxy = start(UPSTREAM_URL=f"http://127.0.0.1:{port}/api/v1")
        statuses: list[int] = []
        late: list[StandIn] = []

        def answered(response: Any) -> None:
            statuses.append(response.status_code)
            if not late:
                place.close()
                late.append(stack.enter_context(StandIn("--port", str(port))))

        client = stack.enter_context(
            openai.OpenAI(
                base_url=proxy.base_url,
                api_key=proxy.token,
                default_headers=ALICE.identity,
                http_client=openai.DefaultHttpxClient(event_hooks={"response": [answered]}),
            )
        )
        said = client.chat.completions.create(model="m", messages=HI)
        assert said.choices[0].message.content == ANSWER
        assert statuses == [502, 200]
        assert len(late[0].requests()) == 1


def test_the_sdk_gives_up_and_nanogpt_stops_too(
    oai: openai.OpenAI, nano: StandIn, since: int
) -> None:
    with pytest.raises(openai.APITimeoutError):
        oai.with_options(timeout=0.2).chat.completions.create(
            model="standin/slow:3600", messages=HI
        )
    nano.wait_next(since, "closed")


# The asynchronous client


async def test_async_calls_of_every_kind(aio: openai.AsyncOpenAI, tmp_path: Path) -> None:
    said = await aio.chat.completions.create(model="m", messages=HI)
    assert said.choices[0].message.content == ANSWER
    parts = await aio.chat.completions.create(model="m", messages=HI, stream=True)
    assert "".join([part.choices[0].delta.content or "" async for part in parts]) == ANSWER
    async with aio.responses.stream(model="m", input="hi") as stream:
        kinds = [event.type async for event in stream]
        made = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert (await aio.responses.retrieve(made.id)).output_text == made.output_text
    await aio.responses.delete(made.id)
    assert len((await aio.embeddings.create(model="m", input="a")).data[0].embedding) == 8
    assert (await aio.images.generate(model="m", prompt="fox")).data
    assert (await aio.images.edit(model="m", prompt="fox", image=("a.png", b"png"))).data
    heard = await aio.audio.transcriptions.create(model="m", file=("a.mp3", b"sound"))
    assert heard.text == f"The stand-in heard {sha256(b'sound')}"
    async with aio.audio.speech.with_streaming_response.create(
        model="m", voice="alloy", input="hi"
    ) as sound:
        await sound.stream_to_file(tmp_path / "hi.mp3")
    assert (tmp_path / "hi.mp3").stat().st_size == 2048
    assert not (await aio.moderations.create(input="hi")).results[0].flagged
    listed = [model.id async for model in aio.models.list()]
    assert (await aio.models.retrieve(listed[0])).id == listed[0]


async def test_async_errors_are_the_same(aio: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await aio.with_options(api_key="npt-not-this-one-1234").models.list()
    with pytest.raises(openai.RateLimitError):
        await aio.chat.completions.create(model="standin/429", messages=HI)
    with pytest.raises(openai.APIError, match="temporarily unavailable"):
        async for _ in await aio.chat.completions.create(
            model="standin/error-frame", messages=HI, stream=True
        ):
            pass


async def test_a_hundred_streams_at_once_each_get_their_own_words(
    aio: openai.AsyncOpenAI, nano: StandIn, since: int
) -> None:
    async def ask(number: int) -> str:
        client = aio.with_options(default_headers=(ALICE if number % 2 else BOB).identity)
        said: Any = [{"role": "user", "content": f"words of {number}"}]
        parts = await client.chat.completions.create(model="m", messages=said, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in parts])

    texts = await asyncio.gather(*(ask(number) for number in range(100)))
    assert [text.rpartition(" said: ")[2] for text in texts] == [
        f"words of {number}" for number in range(100)
    ]
    for seen in nano.requests(since):
        number = int(received_json(seen)["messages"][0]["content"].split()[-1])
        assert seen["key"] == (ALICE.key if number % 2 else BOB.key)
