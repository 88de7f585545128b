"""Answers that need no call to NanoGPT."""

from __future__ import annotations

import json

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.local import answer_locally
from nanogpt_proxy.gateway.routes import match
from tests.gateway.conftest import Gateway


async def test_live_says_that_the_process_runs(gateway: Gateway) -> None:
    gateway.lists.troubles = ["the store does not answer"]
    status, headers, body = await answer_locally(gateway.context, match(b"GET", b"/health/live"))
    assert (status, json.loads(body)) == (200, {"status": "alive"})
    assert (b"cache-control", b"no-store") in headers


async def test_ready_names_what_is_in_the_way(gateway: Gateway) -> None:
    ready = match(b"GET", b"/health/ready")
    status, headers, body = await answer_locally(gateway.context, ready)
    assert (status, json.loads(body)) == (200, {"status": "ready"})
    assert (b"cache-control", b"no-store") in headers
    gateway.lists.troubles = ["the store does not answer", "and more"]
    status, _, body = await answer_locally(gateway.context, ready)
    assert (status, json.loads(body)["problems"]) == (503, gateway.lists.troubles)
    assert json.loads(body)["status"] != "ready"


async def test_lists_and_models_come_from_the_catalogue(gateway: Gateway) -> None:
    listing = match(b"GET", b"/v1/audio-models/?type=tts")
    assert await answer_locally(gateway.context, listing) == (200, [], b'{"data":[]}')
    model = match(b"GET", b"/v1/models/openai%2Fgpt-5?detailed=true")
    assert await answer_locally(gateway.context, model) == (200, [], b'{"id":"m"}')
    assert gateway.lists.asked == [
        (b"/audio-models", b"type=tts"),
        ("openai/gpt-5", b"detailed=true"),
    ]


async def test_a_refusal_goes_through(gateway: Gateway) -> None:
    gateway.lists.refusal = Refusal(503, "models_unavailable", "Later.")
    with pytest.raises(Refusal) as caught:
        await answer_locally(gateway.context, match(b"GET", b"/v1/models"))
    assert caught.value is gateway.lists.refusal
