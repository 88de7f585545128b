"""Hop 2: the allow-list of paths and methods.

What is not on it stays shut: an injected key also opens endpoints that act on the owner's
account, such as minting keys or making credit links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from nanogpt_proxy.errors import Refusal


class Body(Enum):
    """What body a route takes."""

    NONE = "none"
    JSON = "json"
    UPLOAD = "upload"
    """Multipart, passed on as it comes, or JSON."""


class Dialect(Enum):
    """Whose error shapes and stream protocol the route speaks."""

    CHAT = "chat"
    MESSAGES = "messages"
    RESPONSES = "responses"
    PLAIN = "plain"


class Kind(Enum):
    """Who answers."""

    RELAY = "relay"
    MODEL_LIST = "model list"
    MODEL = "model"
    LIVE = "live"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the allow-list. `name` stands in logs and metrics, in place of the path."""

    name: str
    kind: Kind = Kind.RELAY
    body: Body = Body.NONE
    dialect: Dialect = Dialect.PLAIN


@dataclass(frozen=True, slots=True)
class Match:
    """A request's route. `path` goes behind `UPSTREAM_URL`; `model` is the id in the path."""

    route: Route
    path: bytes
    query: bytes
    model: str | None = None


UNKNOWN = Route("unknown")
"""Stands in logs for what is not on the list."""

_LIST_METHODS = (b"GET", b"HEAD")


def _post(
    name: str, body: Body = Body.JSON, dialect: Dialect = Dialect.PLAIN
) -> dict[bytes, Route]:
    return {b"POST": Route(name, body=body, dialect=dialect)}


def _list(name: str) -> dict[bytes, Route]:
    route = Route(name, kind=Kind.MODEL_LIST)
    return dict.fromkeys(_LIST_METHODS, route)


_V1: Mapping[bytes, Mapping[bytes, Route]] = {
    b"/chat/completions": _post("chat/completions", dialect=Dialect.CHAT),
    b"/completions": _post("completions", dialect=Dialect.CHAT),
    b"/responses": _post("responses", dialect=Dialect.RESPONSES),
    b"/messages": _post("messages", dialect=Dialect.MESSAGES),
    b"/messages/count_tokens": _post("messages/count_tokens", dialect=Dialect.MESSAGES),
    b"/embeddings": _post("embeddings"),
    b"/images/generations": _post("images/generations"),
    b"/images/edits": _post("images/edits", Body.UPLOAD),
    b"/images": _post("images"),
    b"/audio/speech": _post("audio/speech"),
    b"/audio/transcriptions": _post("audio/transcriptions", Body.UPLOAD),
    b"/moderations": _post("moderations"),
    b"/models": _list("models"),
    b"/embedding-models": _list("embedding-models"),
    b"/image-models": _list("image-models"),
    b"/audio-models": _list("audio-models"),
    b"/video-models": _list("video-models"),
}
_HEALTH: Mapping[bytes, Mapping[bytes, Route]] = {
    b"/health/live": dict.fromkeys(_LIST_METHODS, Route("health/live", kind=Kind.LIVE)),
    b"/health/ready": dict.fromkeys(_LIST_METHODS, Route("health/ready", kind=Kind.READY)),
}
_MODEL: Mapping[bytes, Route] = {b"GET": Route("models/{id}", kind=Kind.MODEL)}
_RESPONSE: Mapping[bytes, Route] = {
    method: Route("responses/{id}", dialect=Dialect.RESPONSES) for method in (b"GET", b"DELETE")
}
_RESPONSE_PATH = re.compile(rb"/responses/(?!\.\.?\Z)[A-Za-z0-9._-]+")


# Nearly every request is one of these to the letter.
_USUAL: Mapping[tuple[bytes, bytes], Match] = {
    (method, b"/v1" + path): Match(route, path, b"")
    for path, methods in _V1.items()
    for method, route in methods.items()
}


def match(method: bytes, target: bytes) -> Match:
    """The route of a request target (RFC 9112, 3.2); raises `Refusal` with 400, 404 or 405."""
    usual = _USUAL.get((method, target))
    if usual is not None:
        return usual
    path, _, query = _origin_form(target).partition(b"?")
    methods, found, model = _look_up(path)
    route = methods.get(method)
    if route is None:
        raise _wrong_method(methods)
    return Match(route, found, query, model)


def served() -> Iterator[tuple[str, str, Body]]:
    """Method, path and body of every call that is passed on for a user."""
    paths = {**_V1, b"/responses/resp_1": _RESPONSE}
    for path, methods in paths.items():
        for method, route in methods.items():
            if route.kind is Kind.RELAY:
                yield method.decode(), "/v1" + path.decode(), route.body


def dialect(target: bytes) -> Dialect:
    """In whose words to refuse a request that has no route."""
    path = target.partition(b"?")[0]
    if path == b"/v1/messages" or path.startswith(b"/v1/messages/"):
        return Dialect.MESSAGES
    return Dialect.PLAIN


def _origin_form(target: bytes) -> bytes:
    if b"#" in target:
        raise Refusal(400, "invalid_request", "The request target holds a fragment (#).")
    if target.startswith(b"/"):
        return target
    scheme, colon, rest = target.partition(b"://")
    if colon and scheme.lower() in (b"http", b"https"):
        _, slash, path = rest.partition(b"/")
        return slash + path
    return target


def _look_up(path: bytes) -> tuple[Mapping[bytes, Route], bytes, str | None]:
    if path.startswith(b"/v1/"):
        below = path[3:]
        methods = _V1.get(below) or _V1.get(below.removesuffix(b"/"))
        if methods is not None:
            return methods, below.removesuffix(b"/"), None
        if below.startswith(b"/models/"):
            return _MODEL, below, unquote(below[8:].decode("latin-1"))
        if _RESPONSE_PATH.fullmatch(below.removesuffix(b"/")):
            return _RESPONSE, below.removesuffix(b"/"), None
    elif methods := _HEALTH.get(path):
        return methods, path, None
    raise Refusal(
        404,
        "unknown_path",
        "This proxy does not serve this path; it serves NanoGPT's OpenAI-compatible "
        "endpoints under /v1, listed in docs/behaviour.md.",
        kind="not_found_error",
    )


def _wrong_method(methods: Mapping[bytes, Route]) -> Refusal:
    allow = ", ".join(method.decode() for method in methods)
    return Refusal(
        405,
        "method_not_allowed",
        f"This path answers {allow} only.",
        headers=(("allow", allow),),
    )
