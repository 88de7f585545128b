"""Hop 6: what of a body that is at hand goes up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.multipart import filtered
from nanogpt_proxy.gateway.redact import redact, redact_large
from nanogpt_proxy.gateway.routes import Body, Match
from nanogpt_proxy.gateway.server import Request
from nanogpt_proxy.models import Account

Later = Callable[[], Awaitable[bytes]]

# Where NanoGPT knows a `user`.
_TAGGED = frozenset(
    {
        "chat/completions",
        "completions",
        "responses",
        "embeddings",
        "images/generations",
        "images/edits",
        "images",
    }
)


def cross(
    body: bytes,
    kind: Body,
    context: Context,
    match: Match,
    account: Account | None,
    request: Request,
) -> bytes | Later:
    """The body as it goes up, or what must be awaited for it. Raises `Refusal` (400)."""
    if kind is Body.UPLOAD:
        return filtered(body, request.fields.get(b"content-type", b""))
    tag = None
    if account is not None and match.route.name in _TAGGED:
        tag = context.pseudonyms.tag(account)
    clean = redact(body, tag)
    if clean is None:
        return lambda: redact_large(context.judge, body, tag)
    return clean
