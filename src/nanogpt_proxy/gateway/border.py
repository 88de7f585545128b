"""Hop 6: what of a body that is at hand goes up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nanogpt_proxy.gateway.json_body import Judge
from nanogpt_proxy.gateway.multipart import filtered
from nanogpt_proxy.gateway.redact import redact, redact_large
from nanogpt_proxy.gateway.routes import Body
from nanogpt_proxy.gateway.server import Request

Later = Callable[[], Awaitable[bytes]]


def cross(
    body: bytes, kind: Body, request: Request, judge: Judge, tag: bytes | None
) -> bytes | Later:
    """The body as it goes up, or what must be awaited for it. Raises `Refusal` (400).

    `tag` is the pseudonym that a JSON body gets as its `user`.
    """
    if kind is Body.UPLOAD:
        return filtered(body, request.fields.get(b"content-type", b""))
    clean = redact(body, tag)
    if clean is None:
        return lambda: redact_large(judge, body, tag)
    return clean
