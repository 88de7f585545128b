"""Embeddings, images, audio and moderation."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import replace

from standin.answers import Answer, json_answer
from standin.call import Call
from standin.chat import CREATED, pricing, tokens
from standin.errors import Problem
from standin.recorder import Json

# The smallest PNG there is: one transparent pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
_SOUNDS = {"mp3": "mpeg"}
_FORMATS = ("mp3", "wav", "opus", "flac", "aac", "pcm")


def _vector(text: str, size: int) -> list[float]:
    stream = hashlib.shake_256(text.encode()).digest(2 * size)
    return [value / 32768 for value in struct.unpack(f"<{size}h", stream)]


def embeddings(call: Call) -> Answer:
    """Vectors that depend on the text alone; in base64 if asked, as SDKs do."""
    given = call.json.get("input", "")
    texts = [str(text) for text in given] if isinstance(given, list) else [str(given)]
    size = int(call.json.get("dimensions") or 8)
    vectors: list[object] = [_vector(text, size) for text in texts]
    if call.json.get("encoding_format") == "base64":
        packed = [struct.pack(f"<{size}f", *_vector(text, size)) for text in texts]
        vectors = [base64.b64encode(block).decode() for block in packed]
    rows = [
        {"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)
    ]
    count = sum(tokens(text) for text in texts)
    bill = {"prompt_tokens": count, "total_tokens": count}
    whole = {"object": "list", "data": rows, "model": call.model, "usage": bill}
    return json_answer({**whole, "x_nanogpt_pricing": pricing(call), **call.extra()})


def images(call: Call) -> Answer:
    """One pixel per image asked for; inline unless a link was wanted."""
    if call.stream:
        raise Problem(400, "unsupported_stream", "Streaming is not supported for images.")
    number = int(call.json.get("n") or call.asked("n", "1"))
    wanted = call.json.get("response_format") or call.asked("response_format", "b64_json")
    item: Json = {"b64_json": PIXEL}
    if wanted == "url":
        item = {"url": f"https://images.example/{call.record.number}.png"}
    answer = {"created": CREATED, "data": [item] * number, "cost": 0.005}
    return json_answer({**answer, "paymentSource": "USD", "remainingBalance": 12.3, **call.extra()})


def image_edits(call: Call) -> Answer:
    """As `images`, but there must be one to edit."""
    named = {part["name"] for part in call.parts}
    fields = ("imageDataUrl", "imageDataUrls", "image")
    if not named & {"image", "image[]"} and not any(call.json.get(name) for name in fields):
        raise Problem(400, "missing_image_input", "An input image is required.")
    return images(call)


def speech(call: Call) -> Answer:
    """Bytes in the place of sound: as many per character whatever the format."""
    kind = str(call.json.get("response_format") or "mp3")
    if kind not in _FORMATS:
        raise Problem(400, "unsupported_format", f"Unsupported format: {kind}")
    if call.extra():
        return json_answer(call.extra())
    said = str(call.json.get("input", ""))
    block = hashlib.sha256(said.encode()).digest() * 32
    pieces = tuple(block for _ in range(max(1, len(said))))
    headers = (
        ("Content-Type", f"audio/{_SOUNDS.get(kind, kind)}"),
        ("x-cost", "0.0012"),
        ("x-remaining-balance", "12.30"),
    )
    return replace(Answer(200, headers, pieces), sized=not call.stream)


def transcriptions(call: Call) -> Answer:
    """A sentence about what was heard, with the hash of the file to compare."""
    files = [part for part in call.parts if "filename" in part]
    link = call.json.get("file_url") or call.json.get("audio_url")
    if not files and not link:
        raise Problem(400, "missing_required_parameter", "file is required.")
    heard = files[-1]["sha256"] if files else link
    answer = {"text": f"The stand-in heard {heard}", "language": "en", "duration": 45.2}
    return json_answer({**answer, "metadata": {"cost": 0.0006}, **call.extra()})


def moderations(call: Call) -> Answer:
    """Nothing is ever flagged."""
    names = ("hate", "harassment", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0001),
    }
    name = f"modr_standin_{call.record.number}"
    return json_answer({"id": name, "model": call.model, "results": [result], **call.extra()})
