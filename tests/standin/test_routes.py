"""Every route in NanoGPT's shape."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from typing import Any

import aiohttp
import pytest

from standin.process import StandIn
from tests.standin.conftest import KEY, chat_body


async def events(answer: aiohttp.ClientResponse) -> list[bytes]:
    return [event for event in (await answer.read()).split(b"\n\n") if event]


def payload(event: bytes) -> Any:
    return json.loads(event.partition(b"data: ")[2])


async def test_chat_answers_with_usage_and_price(client: aiohttp.ClientSession) -> None:
    async with client.post("chat/completions", json=chat_body("openai/gpt-5.1")) as answer:
        said = await answer.json()
    assert answer.status == 200
    assert said["choices"][0]["message"]["content"].endswith("Grüße")
    assert said["usage"]["total_tokens"] > 0
    assert said["x_nanogpt_pricing"]["requestId"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("usage", [True, False])
async def test_chat_stream_has_usage_only_on_request_and_always_a_price(
    client: aiohttp.ClientSession, usage: bool
) -> None:
    body = chat_body("standin/ok", stream=True, stream_options={"include_usage": usage})
    async with client.post("chat/completions", json=body) as answer:
        assert answer.content_type == "text/event-stream"
        *chunks, finish, done = await events(answer)
    assert done == b"data: [DONE]"
    assert payload(finish)["choices"][0]["finish_reason"] == "stop"
    assert "x_nanogpt_pricing" in payload(finish)
    assert ("usage" in payload(finish)) is usage
    text = "".join(payload(chunk)["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text.endswith("Grüße")


async def test_messages_stream_named_events_without_done(client: aiohttp.ClientSession) -> None:
    async with client.post("messages", json=chat_body("standin/ok", stream=True)) as answer:
        found = await events(answer)
    names = [event.partition(b"\n")[0].removeprefix(b"event: ") for event in found]
    assert (names[0], names[-2], names[-1]) == (b"message_start", b"message_delta", b"message_stop")


async def test_responses_are_kept_for_the_account_that_made_them(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("responses", json={"model": "standin/ok", "input": "hi"}) as answer:
        name = (await answer.json())["id"]
    other = {"Authorization": "Bearer sk-nano-22222222-1111-4111-8111-111111111111"}
    async with client.get(f"responses/{name}", headers=other) as answer:
        assert answer.status == 404
    async with client.get(f"responses/{name}") as answer:
        assert (await answer.json())["status"] == "completed"
    async with client.delete(f"responses/{name}") as answer:
        assert (await answer.json())["deleted"] is True
    async with client.get(f"responses/{name}") as answer:
        assert answer.status == 404


async def test_responses_stream_ends_with_the_whole_reply_and_done(
    client: aiohttp.ClientSession,
) -> None:
    body = {"model": "standin/ok", "input": "hi", "stream": True}
    async with client.post("responses", json=body) as answer:
        *found, last, done = await events(answer)
    assert [payload(event)["sequence_number"] for event in found] == list(range(len(found)))
    assert payload(last)["response"]["usage"]["total_tokens"] > 0
    assert done == b"data: [DONE]"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("completions", {"prompt": "hi"}, "choices"),
        ("messages", {"messages": []}, "content"),
        ("messages/count_tokens", {"messages": []}, "input_tokens"),
        ("embeddings", {"input": ["a", "b"]}, "data"),
        ("images/generations", {"prompt": "a fox"}, "data"),
        ("images/edits", {"prompt": "a fox", "imageDataUrl": "data:,"}, "data"),
        ("images", {"prompt": "a fox"}, "data"),
        ("audio/transcriptions", {"file_url": "https://x.example/a.mp3"}, "text"),
        ("moderations", {"input": "hi"}, "results"),
    ],
)
async def test_json_routes_answer(
    client: aiohttp.ClientSession, path: str, body: dict[str, Any], field: str
) -> None:
    async with client.post(path, json={"model": "m", **body}) as answer:
        assert answer.status == 200
        assert field in await answer.json()


@pytest.mark.parametrize("stream", [True, False])
async def test_speech_is_binary_with_a_length_unless_streamed(
    client: aiohttp.ClientSession, stream: bool
) -> None:
    body = {"model": "tts-1", "input": "hello", "stream": stream}
    async with client.post("audio/speech", json=body) as answer:
        sound = await answer.read()
    assert answer.content_type == "audio/mpeg"
    assert len(sound) == 5 * 1024
    assert ("Content-Length" in answer.headers) is not stream


async def test_uploads_are_hashed_part_by_part(
    client: aiohttp.ClientSession, nano: StandIn
) -> None:
    sound = bytes(range(256)) * 2000
    form = aiohttp.FormData()
    form.add_field("model", "standin/upload")
    form.add_field("file", sound, filename="a.mp3", content_type="audio/mpeg")
    since = nano.state()["last"]
    async with client.post("audio/transcriptions", data=form) as answer:
        found = (await answer.json())["upload"]
    digest = hashlib.sha256(sound).hexdigest()
    assert found["parts"][1]["sha256"] == digest
    (seen,) = nano.requests(since)
    assert seen["parts"][1]["filename"] == "a.mp3"
    assert seen["body"]["base64"] is None
    assert seen["body"]["length"] > len(sound)


async def test_image_edits_take_multipart_and_want_an_image(client: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData({"prompt": "a fox", "n": "2"})
    form.add_field("image[]", b"png", filename="a.png", content_type="image/png")
    async with client.post("images/edits", data=form) as answer:
        assert len((await answer.json())["data"]) == 2
    async with client.post("images/edits", json={"prompt": "a fox"}) as answer:
        assert (await answer.json())["error"]["code"] == "missing_image_input"


async def test_compressed_bodies_are_understood(client: aiohttp.ClientSession) -> None:
    body = gzip.compress(json.dumps(chat_body("standin/echo")).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with client.post("chat/completions", data=body, headers=headers) as answer:
        assert (await answer.json())["echo"]["body_sha256"] == hashlib.sha256(body).hexdigest()


async def test_echo_proves_whose_answer_it_is_and_hides_the_key(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("embeddings", json={"model": "standin/echo"}) as answer:
        text = await answer.text()
    assert json.loads(text)["echo"]["key_sha256"] == hashlib.sha256(KEY.encode()).hexdigest()
    assert KEY not in text


@pytest.mark.parametrize(
    ("path", "data", "kind", "status", "code"),
    [
        ("chat/completions", b"{", "application/json", 400, "invalid_json"),
        ("chat/completions", b"[]", "application/json", 400, "invalid_json"),
        ("chat/completions", b"{}", "text/plain", 415, "unsupported_media_type"),
        ("chat/completions", b" " * (33 << 20), "application/json", 413, "request_too_large"),
        ("images/edits", b"x", "multipart/form-data", 400, "invalid_multipart_body"),
        ("nowhere", b"{}", "application/json", 404, "not_found"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    client: aiohttp.ClientSession, path: str, data: bytes, kind: str, status: int, code: str
) -> None:
    async with client.post(path, data=io.BytesIO(data), headers={"Content-Type": kind}) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["code"] == code
        assert "X-Request-ID" in answer.headers


async def test_lists_need_no_key_and_show_what_the_proxy_must_drop(nano: StandIn) -> None:
    names = ("models", "embedding-models", "image-models", "audio-models", "video-models")
    async with aiohttp.ClientSession(f"{nano.base_url}/") as stranger:
        for name in names:
            async with stranger.get(name, headers={"Authorization": "Bearer bad"}) as answer:
                assert answer.status == 200
                assert (await answer.json())["data"]
        async with stranger.get("models?detailed=true") as answer:
            public = (await answer.json())["data"]
        assert any("pipeline" in row for row in public)
        subscriber = {"x-api-key": "00000100-1111-4111-8111-111111111111"}
        async with stranger.get("models", headers=subscriber) as answer:
            assert len((await answer.json())["data"]) < len(public)
