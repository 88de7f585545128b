"""Answers that need neither a user nor a call of their own to NanoGPT: health and models."""

from __future__ import annotations

from nanogpt_proxy.gateway.answers import compact
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.routes import Kind, Match

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers beside the content type, and a JSON body."""

_NOT_CACHED = [(b"cache-control", b"no-store")]


async def answer_locally(context: Context, match: Match) -> Answer:
    """Raises `Refusal` where there is no such model, or no list to be had."""
    kind = match.route.kind
    if kind is Kind.LIVE:
        return 200, _NOT_CACHED, compact({"status": "alive"})
    if kind is Kind.READY:
        problems = await context.health.problems()
        status = {"status": "unready", "problems": problems} if problems else {"status": "ready"}
        return (503 if problems else 200), _NOT_CACHED, compact(status)
    if match.model is not None:
        return 200, [], await context.catalogue.model(match.model, match.query)
    return 200, [], await context.catalogue.listing(match.path, match.query)
