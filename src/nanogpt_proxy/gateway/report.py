"""What is written down of an exchange when it is settled: counters and one log line."""

from __future__ import annotations

from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.reply import Reply
from nanogpt_proxy.gateway.routes import Kind, Route
from nanogpt_proxy.gateway.server import Request
from nanogpt_proxy.models import Account

_UNLOGGED = frozenset({Kind.LIVE, Kind.READY})


class Report:
    """Knows when an exchange began; never the path, the key or any content."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._began = context.loop.time()
        self._first_byte: float | None = None

    def first_byte(self) -> None:
        """The answer begins now."""
        self._first_byte = self._context.loop.time()

    def settled(
        self,
        outcome: str,
        *,
        route: Route,
        account: Account | None,
        request: Request,
        reply: Reply,
    ) -> None:
        context, first = self._context, self._first_byte
        context.counters.count(route.name, reply.status, outcome)
        if context.access_log is None or route.kind in _UNLOGGED:
            return
        context.access_log.write(
            request_id=reply.request_id,
            account=context.pseudonyms.logged(account) if account else None,
            method=request.method.decode("latin-1"),
            route=route.name,
            status=reply.status,
            outcome=outcome,
            ms=(context.loop.time() - self._began) * 1000,
            first_byte_ms=None if first is None else (first - self._began) * 1000,
            sent=reply.sent,
            received=request.received,
        )
