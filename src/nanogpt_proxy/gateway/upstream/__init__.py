"""Hop 7: connections to NanoGPT: dialled, pooled, and used for one answer at a time."""

from nanogpt_proxy.gateway.upstream.answer import AnswerHead
from nanogpt_proxy.gateway.upstream.connection import (
    AnswerSink,
    Failure,
    UpstreamConnection,
)
from nanogpt_proxy.gateway.upstream.dial import Origin
from nanogpt_proxy.gateway.upstream.fetch import FetchFailed, fetch
from nanogpt_proxy.gateway.upstream.pool import Pool, Waiter

__all__ = [
    "AnswerHead",
    "AnswerSink",
    "Failure",
    "FetchFailed",
    "Origin",
    "Pool",
    "UpstreamConnection",
    "Waiter",
    "fetch",
]
