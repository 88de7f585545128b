"""The real clients accept the stand-in's shapes, so a failure behind the proxy is the proxy's."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest

from standin.process import StandIn
from tests.standin.conftest import KEY


@pytest.fixture
def oai(nano: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=nano.base_url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(nano: StandIn) -> Iterator[anthropic.Anthropic]:
    base = nano.base_url.removesuffix("/v1")  # the SDK adds it
    with anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0) as client:
        yield client


def test_openai_chat(oai: openai.OpenAI) -> None:
    whole = oai.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    parts = oai.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == whole.choices[0].message.content


def test_openai_error_frame(oai: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="temporarily unavailable"):
        for _ in oai.chat.completions.create(
            model="standin/error-frame", messages=[{"role": "user", "content": "hi"}], stream=True
        ):
            pass


def test_openai_responses(oai: openai.OpenAI) -> None:
    with oai.responses.stream(model="m", input="hi") as stream:
        kinds = [event.type for event in stream]
        reply = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert reply.output_text.endswith("hi")
    assert oai.responses.retrieve(reply.id).output_text == reply.output_text
    oai.responses.delete(reply.id)


def test_openai_media(oai: openai.OpenAI) -> None:
    assert len(oai.embeddings.create(model="m", input=["a", "b"]).data[1].embedding) == 8
    assert oai.images.generate(model="m", prompt="fox").data
    assert oai.images.edit(model="m", prompt="fox", image=("a.png", b"png")).data
    heard = oai.audio.transcriptions.create(model="m", file=("a.mp3", b"sound"))
    assert heard.text.startswith("The stand-in heard")
    with oai.audio.speech.with_streaming_response.create(
        model="m", voice="alloy", input="hi"
    ) as sound:
        assert len(sound.read()) == 2048
    assert not oai.moderations.create(model="m", input="hi").results[0].flagged
    assert len(list(oai.models.list())) > 3


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(
        model="m", max_tokens=99, messages=[{"role": "user", "content": "hi"}]
    )
    with claude.messages.stream(
        model="m", max_tokens=99, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        text = stream.get_final_text()
    assert whole.content[0].type == "text"
    assert whole.content[0].text == text
    counted = claude.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hi"}])
    assert counted.input_tokens > 0


def test_anthropic_error_frame(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="temporarily unavailable"):
        with claude.messages.stream(
            model="standin/error-frame",
            max_tokens=99,
            messages=[{"role": "user", "content": "hi"}],
        ) as stream:
            stream.until_done()
