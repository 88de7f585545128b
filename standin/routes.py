"""The paths below `/api/v1`, and what NanoGPT would answer there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from standin import anthropic, catalogue, chat, media
from standin.answers import Answer
from standin.call import Call
from standin.responses import Responses

ROOT = "/api/v1"


@dataclass(frozen=True, slots=True)
class Route:
    """`takes` is what body it reads: `json`, `any` (multipart or JSON) or `none`."""

    method: str
    path: re.Pattern[str]
    answer: Callable[[Call], Answer]
    takes: str = "none"
    protocol: str = "openai"
    keyed: bool = True


def _route(
    method: str,
    path: str,
    answer: Callable[[Call], Answer],
    *,
    takes: str | None = None,
    protocol: str = "openai",
    keyed: bool = True,
) -> Route:
    body = takes or ("json" if method == "POST" else "none")
    return Route(method, re.compile(ROOT + path), answer, body, protocol, keyed)


def make_routes() -> tuple[Route, ...]:
    """All routes, with a fresh shelf of stored responses."""
    stored = Responses()
    lists = {
        "/models": catalogue.models,
        "/embedding-models": catalogue.embedding_models,
        "/image-models": catalogue.image_models,
        "/audio-models": catalogue.audio_models,
        "/video-models": catalogue.video_models,
    }
    return (
        _route("POST", "/chat/completions", chat.chat),
        _route("POST", "/completions", chat.completions),
        _route("POST", "/responses", stored.create, protocol="responses"),
        _route("GET", r"/responses/[A-Za-z0-9._-]+", stored.read),
        _route("DELETE", r"/responses/[A-Za-z0-9._-]+", stored.delete),
        _route("POST", "/messages", anthropic.messages, protocol="anthropic"),
        _route("POST", "/messages/count_tokens", anthropic.count_tokens, protocol="anthropic"),
        _route("POST", "/embeddings", media.embeddings),
        _route("POST", "/images/generations", media.images),
        _route("POST", "/images/edits", media.image_edits, takes="any"),
        _route("POST", "/images", media.images),
        _route("POST", "/audio/speech", media.speech),
        _route("POST", "/audio/transcriptions", media.transcriptions, takes="any"),
        _route("POST", "/moderations", media.moderations),
        *(_route("GET", path, answer, keyed=False) for path, answer in lists.items()),
    )
