"""The lists of models. No key is needed, a bad one is ignored, a subscriber's is shorter."""

from __future__ import annotations

from standin.access import nature, offered_keys
from standin.answers import Answer, json_answer
from standin.call import Call
from standin.recorder import Json

_CREATED = 1_704_067_200
TEXT_MODELS = (
    ("openai/gpt-5.1", False),
    ("anthropic/claude-opus-4.6", False),
    ("moonshotai/kimi-k2.5:thinking", True),
    ("deepseek/deepseek-v3.2", True),
    ("standin/ok", True),
    ("standin/echo", True),
    ("standin/paced:200:0.05", True),
    ("standin/error-frame", True),
)
"""Ids of text models, and whether the subscription includes them."""
# Which providers serve a model is nothing for users; the proxy must drop it.
_PIPELINE = {"provider": "internal-7", "route": ["a", "b"]}


def _entry(model: str, /, **more: object) -> Json:
    owner = model.partition("/")[0]
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": owner, **more}


def _details(name: str, included: bool) -> Json:
    return {
        "name": name.partition("/")[2],
        "description": f"Äußerst ähnlich wie {name}",
        "icon_url": "/icons/model.svg",
        "context_length": 200_000,
        "max_output_tokens": 32_000,
        "capabilities": {"vision": True, "reasoning": ":thinking" in name, "tool_calling": True},
        "architecture": {"input_modalities": ["text", "image"]},
        "pricing": {
            "prompt": 2.5,
            "completion": 10.0,
            "currency": "USD",
            "unit": "per_million_tokens",
        },
        "supported_service_tiers": ["flex", "priority"],
        "cost_estimate": 0.01,
        "category": "general",
        "subscription": {"included": included, "note": "", "inputTokenMultiplier": 1},
        **({"pipeline": _PIPELINE} if not included else {}),
    }


def models(call: Call) -> Answer:
    keys = offered_keys(call.request)
    short = bool(keys) and nature(keys[0]) == "subscriber"
    detailed = call.asked("detailed") == "true"
    rows = [
        # Also in the short form: whatever the form, the field must not pass.
        _entry(name, **(_details(name, included) if detailed else {}))
        for name, included in TEXT_MODELS
        if included or not short
    ]
    if not detailed:
        rows[0]["pipeline"] = _PIPELINE
    return json_answer({"object": "list", "data": rows, **call.extra()})


def embedding_models(call: Call) -> Answer:
    row = _entry(
        "openai/text-embedding-3-small",
        dimensions=1536,
        max_dimensions=1536,
        supports_dimensions=True,
        max_tokens=8191,
        pricing={"per_million_tokens": 0.02, "currency": "USD"},
    )
    return json_answer({"object": "list", "data": [row], **call.extra()})


def _media_list(call: Call, names: tuple[str, ...], **fields: object) -> Answer:
    more: Json = {} if call.asked("detailed", "true") == "false" else {**fields}
    rows = [_entry(name, **more, pipeline=_PIPELINE) for name in names]
    meta = {"count": len(rows), "generated_at": "2026-10-11T04:18:21.000Z"}
    return json_answer({"object": "list", "data": rows, "meta": meta, **call.extra()})


def image_models(call: Call) -> Answer:
    return _media_list(
        call,
        ("hidream", "qwen/image-edit"),
        architecture={"input_modalities": ["text"], "output_modalities": ["image"]},
        pricing={"per_image": {"1024x1024": 0.005}, "currency": "USD"},
        capabilities={"image_generation": True, "image_to_image": True, "nsfw": False},
        supported_parameters={"resolutions": ["1024x1024"], "max_images": 4},
    )


def audio_models(call: Call) -> Answer:
    names = {"tts": ("tts-1", "kokoro"), "stt": ("whisper-1",)}
    wanted = call.asked("type", "all")
    chosen = names.get(wanted, (*names["tts"], *names["stt"]))
    return _media_list(call, chosen, pricing={"per_minute": 0.006, "currency": "USD"})


def video_models(call: Call) -> Answer:
    return _media_list(call, ("veo-3",), pricing={"per_second": 0.2, "currency": "USD"})
