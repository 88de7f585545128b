"""Open WebUI's own calls, header for header: `aiohttp` as it uses it, one pool for everybody."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import (
    ALICE,
    BOB,
    DISABLED,
    KEYLESS,
    PENNILESS,
    REVOKED,
    STRANGER,
    TOKEN,
    Proxy,
    User,
)
from tests.functional.wire import events

NAME = "Jürgen Groß 世界"
CHAT_ID = "0b6f8a0e-5a0c-4c5e-9d0e-2f3e1f6a7b8c"
NEW_KEY = "sk-nano-0e0e0e0e-0000-4000-8000-00000000000e"
SECONDS = 1.0  # until a change by a command is in force
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": "Searches notes, calendars und Büroklammern. " * 8,
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
        },
    }
    for number in range(32)
]
TASKS = ("title", "tags", "follow-up questions")

Json = dict[str, Any]


def headers(user: User) -> dict[str, str]:
    """What Open WebUI adds to a chat of this user's when it forwards who is asking."""
    return {
        "Authorization": f"Bearer {TOKEN}",
        "X-OpenWebUI-User-Name": quote(NAME, safe=" "),
        "X-OpenWebUI-User-Id": user.id,
        "X-OpenWebUI-User-Email": user.email,
        "X-OpenWebUI-User-Role": "admin",
        "X-OpenWebUI-Chat-Id": CHAT_ID,
        "X-OpenWebUI-Auth-Type": "jwt",
    }


@pytest.fixture
def created() -> list[None]:
    """One entry for each connection that the pool has opened."""
    return []


@pytest.fixture
async def webui(created: list[None]) -> AsyncIterator[aiohttp.ClientSession]:
    """Open WebUI's client: one pool for all users, 300 s for a plain call."""

    async def opened(*_: object) -> None:
        created.append(None)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(opened)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
        timeout=aiohttp.ClientTimeout(total=300),
        headers={"Accept-Encoding": "gzip, deflate, br"},
        trace_configs=[trace],
    ) as session:
        yield session


@pytest.fixture
def since(nano: StandIn) -> int:
    """The number of the last request before this test."""
    return int(nano.state()["last"])


def chat(model: str, text: str = "Grüß Gott", **more: Any) -> Json:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
    return {"model": model, "messages": said, **more}


async def ask(
    webui: aiohttp.ClientSession, proxy: Proxy, user: User, path: str, body: Json
) -> tuple[int, Json]:
    """A plain call: its status and JSON."""
    url = f"{proxy.base_url}{path}"
    async with webui.post(url, json=body, headers=headers(user)) as answer:
        return answer.status, await answer.json()


async def stream(webui: aiohttp.ClientSession, proxy: Proxy, user: User, body: Json) -> list[bytes]:
    """The events of a streamed chat."""
    async with open_stream(webui, proxy, user, body) as answer:
        assert answer.status == 200
        assert "text/event-stream" in answer.headers["Content-Type"]
        return events(await answer.read())


def open_stream(webui: aiohttp.ClientSession, proxy: Proxy, user: User, body: Json) -> Any:
    """A streamed chat, for which Open WebUI sets no limit of time."""
    return webui.post(
        f"{proxy.base_url}/chat/completions",
        data=json.dumps({**body, "stream": True}),
        headers=headers(user) | {"Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(total=None),
    )


def content(found: list[bytes]) -> str:
    """What the model said in the events of a chat."""
    assert found[-1] == b"data: [DONE]"
    parts = [json.loads(event.removeprefix(b"data: ")) for event in found[:-1]]
    return "".join(part["choices"][0]["delta"].get("content") or "" for part in parts)


def judge(seen: Json, user: User) -> None:
    """What came to NanoGPT is this user's, and tells nothing of Open WebUI or of us."""
    names = [name.lower() for name, _ in seen["headers"]]
    told = str(seen["headers"]).lower()
    assert seen["key"] == user.key
    assert sorted(set(names)) == sorted(names), "a header twice"
    assert dict(seen["headers"])["authorization"] == f"Bearer {user.key}"
    assert not [name for name in names if name.startswith(("x-openwebui", "cookie", "x-api-key"))]
    for word in (user.email, TOKEN, ALICE.id, CHAT_ID, quote(NAME)[:8], "aiohttp", "python"):
        assert word.lower() not in told, word
    for word in (user.email, user.id, CHAT_ID):
        assert word.encode() not in base64.b64decode(seen["body"]["base64"] or "")


# What one chat message causes


async def test_a_message_and_its_three_tasks_run_at_the_same_time(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    message = chat("openai/gpt-5.1", tools=TOOLS, stream_options={"include_usage": True})
    tasks = [
        chat("openai/gpt-5.1", f"### Task:\nFind {task}.", stream=False, max_tokens=1000)
        for task in TASKS
    ]
    found, told = await asyncio.gather(
        stream(webui, gateway, ALICE, message),
        asyncio.gather(*(ask(webui, gateway, ALICE, "/chat/completions", task) for task in tasks)),
    )
    assert len(json.dumps(TOOLS)) > 15_000
    assert content(found).endswith("You said: Grüß Gott")
    for task, (status, answer) in zip(TASKS, told, strict=True):
        assert status == 200
        assert answer["choices"][0]["message"]["content"].endswith(f"Find {task}.")
    requests = nano.requests(since)
    assert len(requests) == 4
    for seen in requests:
        judge(seen, ALICE)
    sent = json.dumps({**message, "stream": True}).encode()
    assert hashlib.sha256(sent).hexdigest() in [seen["body"]["sha256"] for seen in requests]


async def test_the_answer_is_marked_as_a_stream_that_nobody_may_hold_back(
    webui: aiohttp.ClientSession, gateway: Proxy
) -> None:
    async with open_stream(webui, gateway, ALICE, chat("m")) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["X-Request-ID"].startswith("req_standin_")
        assert "Content-Encoding" not in answer.headers


async def test_a_chat_with_pictures_in_it_goes_up_unchanged(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    picture = "data:image/png;base64," + base64.b64encode(os.urandom(3_000_000)).decode()
    body = chat("standin/upload")
    body["messages"][1]["content"] = [
        {"type": "text", "text": "Was ist das?"},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    sent = json.dumps(body).encode()
    url, kind = f"{gateway.base_url}/chat/completions", {"Content-Type": "application/json"}
    async with webui.post(url, data=io.BytesIO(sent), headers=headers(ALICE) | kind) as told:
        assert told.status == 200
        answer = await told.json()
    assert answer["upload"]["sha256"] == hashlib.sha256(sent).hexdigest()
    (seen,) = nano.requests(since)
    judge(seen, ALICE)


# Everything else that Open WebUI asks for


async def test_documents_are_embedded(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    batches = [[f"Absatz {n}.{i}" for i in range(8)] for n in range(5)]
    told = await asyncio.gather(
        *(
            ask(webui, gateway, ALICE, "/embeddings", {"input": batch, "model": "m"})
            for batch in batches
        )
    )
    assert [len(answer["data"]) for _, answer in told] == [8] * 5
    vectors = {str(row["embedding"]) for _, answer in told for row in answer["data"]}
    assert len(vectors) == 40
    for seen in nano.requests(since):
        judge(seen, ALICE)


async def test_images_are_generated(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    wish = {"model": "hidream", "prompt": "Ein Fuchs", "n": 2, "size": "1024x1024"}
    wish["response_format"] = "b64_json"
    status, answer = await ask(webui, gateway, ALICE, "/images/generations", wish)
    assert status == 200
    assert [base64.b64decode(image["b64_json"])[:4] for image in answer["data"]] == [b"\x89PNG"] * 2
    judge(nano.requests(since)[0], ALICE)


async def test_images_are_edited(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    pictures = [os.urandom(400_000), os.urandom(5)]
    form = aiohttp.FormData({"model": "qwen/image-edit", "prompt": "Größer", "n": "1"})
    for number, picture in enumerate(pictures):
        form.add_field("image[]", picture, filename=f"{number}.png", content_type="image/png")
    url = f"{gateway.base_url}/images/edits"
    async with webui.post(url, data=form, headers=headers(ALICE)) as answer:
        told = await answer.json()
    assert (answer.status, len(told["data"])) == (200, 1)
    (seen,) = nano.requests(since)
    judge(seen, ALICE)
    files = [part for part in seen["parts"] if "filename" in part]
    assert [(part["name"], part["filename"], part["type"]) for part in files] == [
        ("image[]", "file.png", "image/png"),
        ("image[]", "file.png", "image/png"),
    ]
    assert [part["sha256"] for part in files] == [
        hashlib.sha256(picture).hexdigest() for picture in pictures
    ]
    texts = {part["name"]: part["text"] for part in seen["parts"] if "text" in part}
    assert texts == {"model": "qwen/image-edit", "prompt": "Größer", "n": "1"}


async def test_speech_comes_as_sound(webui: aiohttp.ClientSession, gateway: Proxy) -> None:
    text = "Guten Tag. " * 50
    wish = {"model": "tts-1", "input": text, "voice": "alloy"}
    url = f"{gateway.base_url}/audio/speech"
    async with webui.post(url, json=wish, headers=headers(ALICE)) as answer:
        sound = await answer.read()
    assert (answer.status, answer.content_type) == (200, "audio/mpeg")
    assert sound == hashlib.sha256(text.encode()).digest() * 32 * len(text)


async def test_recordings_are_transcribed_from_a_chunked_upload(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    recording, name = os.urandom(2_000_000), f"{uuid.uuid4()}.webm"
    form = aiohttp.FormData({"model": "Whisper-Large-V3", "language": "de"})
    form.add_field("file", io.BytesIO(recording), filename=name, content_type="audio/webm")
    url = f"{gateway.base_url}/audio/transcriptions"
    async with webui.post(url, data=form, headers=headers(ALICE), chunked=True) as answer:
        told = await answer.json()
    assert answer.request_info.headers["Transfer-Encoding"] == "chunked"
    assert answer.status == 200
    assert told["text"] == f"The stand-in heard {hashlib.sha256(recording).hexdigest()}"
    (seen,) = nano.requests(since)
    judge(seen, ALICE)
    (file,) = [part for part in seen["parts"] if "filename" in part]
    assert (file["filename"], file["type"]) == ("file.webm", "audio/webm")


# The list of models


async def test_the_models_are_the_same_for_all_and_asked_for_once(
    webui: aiohttp.ClientSession, start: Start, nano: StandIn, since: int
) -> None:
    fresh = start()

    async def models(more: dict[str, str]) -> bytes:
        async with webui.get(f"{fresh.base_url}/models", headers=more) as answer:
            assert answer.status == 200
            return await answer.read()

    verify = {"Authorization": f"Bearer {TOKEN}"}
    bodies = await asyncio.gather(*(models(more) for more in (verify, headers(BOB)) * 10))
    assert len(set(bodies)) == 1
    assert b"openai/gpt-5.1" in bodies[0]
    assert b"pipeline" not in bodies[0]
    (seen,) = nano.requests(since)
    assert seen["key"] is None
    assert "openwebui" not in str(seen["headers"]).lower()


# Who is asking


async def test_two_users_of_one_model_each_pay_for_themselves(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    users = [ALICE, BOB] * 30
    found = await asyncio.gather(
        *(stream(webui, gateway, user, chat("standin/paced:20:0.005")) for user in users)
    )
    for user, events_of_user in zip(users, found, strict=True):
        owner = user.digest[:8]
        assert content(events_of_user) == "".join(f" {owner}:{i}" for i in range(20))
    requests = nano.requests(since)
    assert sorted(seen["key"] for seen in requests) == sorted(user.key for user in users)
    for seen in requests:
        judge(seen, ALICE if seen["key"] == ALICE.key else BOB)


async def test_capital_letters_of_the_address_make_no_difference(
    webui: aiohttp.ClientSession, gateway: Proxy
) -> None:
    typed = User(" Alice@EXAMPLE.com ", ALICE.key)
    status, answer = await ask(webui, gateway, typed, "/chat/completions", chat("standin/echo"))
    assert status == 200
    assert answer["echo"]["key_sha256"] == ALICE.digest


@pytest.mark.parametrize(
    ("user", "status", "code"),
    [
        (STRANGER, 401, "key_not_enrolled"),
        (KEYLESS, 401, "key_not_enrolled"),
        (DISABLED, 403, "user_disabled"),
        (REVOKED, 401, "key_rejected"),
        (PENNILESS, 402, "insufficient_balance"),
    ],
    ids=lambda value: value.email if isinstance(value, User) else "",
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_every_refusal_is_json_with_a_message_to_show(
    webui: aiohttp.ClientSession,
    gateway: Proxy,
    user: User,
    status: int,
    code: str,
    streamed: bool,
) -> None:
    body = chat("m", stream=streamed)
    answered, told = await ask(webui, gateway, user, "/chat/completions", body)
    assert answered == status
    assert told["error"]["code"] == code
    assert len(told["error"]["message"].split()) >= 2


@pytest.mark.parametrize("signed", [False, True])
async def test_a_call_for_nobody_is_refused_and_says_which_setting_is_missing(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int, signed: bool
) -> None:
    more = {"Authorization": f"Bearer {TOKEN}", "X-OpenWebUI-User-Email": ""}
    if signed:
        more["X-OpenWebUI-User-Jwt"] = "eyJhbGciOiJIUzI1NiJ9.eyJlbWFpbCI6ImEifQ.c2ln"
    url = f"{gateway.base_url}/embeddings"
    async with webui.post(url, json={"input": ["x"], "model": "m"}, headers=more) as answer:
        told = await answer.json()
    assert (answer.status, told["error"]["code"]) == (401, "identity_missing")
    assert "ENABLE_FORWARD_USER_INFO_HEADERS=true" in told["error"]["message"]
    assert nano.requests(since) == []


# The pool, and people who change their mind


async def test_one_connection_serves_one_call_after_the_other(
    webui: aiohttp.ClientSession,
    gateway: Proxy,
    created: list[None],
    nano: StandIn,
    since: int,
) -> None:
    for user, status in ((ALICE, 200), (STRANGER, 401), (BOB, 200), (DISABLED, 403)) * 3:
        answered, _ = await ask(webui, gateway, user, "/chat/completions", chat("m"))
        assert answered == status
        assert content(await stream(webui, gateway, ALICE, chat("m")))
    async with webui.get(f"{gateway.base_url}/nothing", headers=headers(ALICE)) as answer:
        assert answer.status == 404
        await answer.read()
    assert len(created) == 1
    assert max(seen["turn"] for seen in nano.requests(since)) > 1, "none kept to NanoGPT"


async def test_stop_in_the_middle_ends_the_call_to_nanogpt(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    async with open_stream(webui, gateway, ALICE, chat("standin/paced:3:1800")) as answer:
        await answer.content.readany()
        answer.close()
    await asyncio.to_thread(nano.wait_next, since, "closed")


async def test_stop_before_the_first_word_ends_the_call_to_nanogpt(
    webui: aiohttp.ClientSession, gateway: Proxy, nano: StandIn, since: int
) -> None:
    waiting = asyncio.create_task(stream(webui, gateway, ALICE, chat("standin/slow:3600")))
    await asyncio.to_thread(nano.wait_next, since, "body")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(nano.wait_next, since, "closed")


async def test_a_broken_stream_shows_its_error_in_the_message(
    webui: aiohttp.ClientSession, gateway: Proxy
) -> None:
    found = await stream(webui, gateway, ALICE, chat("standin/abrupt"))
    assert found[-1] == b"data: [DONE]"
    told = json.loads(found[-2].removeprefix(b"data: "))
    assert told["error"]["code"] == "upstream_disconnected"
    assert "may have been charged" in told["error"]["message"]


# Changes while it runs


async def soon(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Tries until it succeeds, which must be within a second."""
    begin = time.monotonic()
    while not await attempt():
        assert time.monotonic() - begin < SECONDS
    assert time.monotonic() - begin < SECONDS


async def test_changes_by_commands_are_in_force_within_a_second_and_streams_go_on(
    webui: aiohttp.ClientSession, start: Start
) -> None:
    proxy = start()
    digest = User("", NEW_KEY).digest

    async def answered(user: User) -> tuple[int, Json]:
        return await ask(webui, proxy, user, "/chat/completions", chat("standin/echo"))

    async def paid_with_the_new_key() -> bool:
        status, answer = await answered(ALICE)
        assert status == 200
        return bool(answer["echo"]["key_sha256"] == digest)

    async def refused() -> bool:
        return (await answered(ALICE))[0] == 403

    async def enrolled() -> bool:
        return (await answered(STRANGER))[0] == 200

    async with open_stream(webui, proxy, ALICE, chat("standin/paced:150:0.04")) as running:
        assert running.status == 200
        assert (await answered(ALICE))[1]["echo"]["key_sha256"] == ALICE.digest
        await asyncio.to_thread(proxy.command, "set-key", ALICE.email, stdin=NEW_KEY)
        await soon(paid_with_the_new_key)
        await asyncio.to_thread(proxy.command, "disable-user", ALICE.email)
        await soon(refused)
        assert not running.content.is_eof(), "the stream ended before the changes did"
        found = events(await running.read())
    owner = ALICE.digest[:8]
    assert content(found) == "".join(f" {owner}:{i}" for i in range(150))
    assert (await answered(STRANGER))[0] == 401
    await asyncio.to_thread(proxy.command, "add-user", STRANGER.email, stdin=NEW_KEY)
    await soon(enrolled)
    assert NEW_KEY.removeprefix("sk-nano-") not in proxy.said


# What is not there


async def test_voice_calls_are_refused_clearly(
    webui: aiohttp.ClientSession, gateway: Proxy
) -> None:
    url = f"{gateway.base_url}/realtime?model=gpt-realtime"
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await webui.ws_connect(url, headers=headers(ALICE))
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/chat/completions", 405),
        ("DELETE", "/models", 405),
        ("GET", "/usage", 404),
        ("POST", "/auth/keys/code", 404),
        ("PUT", "/anything", 404),
    ],
)
async def test_other_paths_that_open_webui_relays_stay_shut(
    webui: aiohttp.ClientSession,
    gateway: Proxy,
    nano: StandIn,
    since: int,
    method: str,
    path: str,
    status: int,
) -> None:
    url = f"{gateway.base_url}{path}"
    async with webui.request(method, url, json={}, headers=headers(ALICE)) as answer:
        told = await answer.json()
    assert answer.status == status
    assert told["error"]["message"]
    assert nano.requests(since) == []
