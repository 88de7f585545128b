"""Answers of our own: error envelopes, and the bytes of a response head."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.routes import Dialect

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, b""))
    for status in range(100, 1000)
}

_ANTHROPIC_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def status_line(status: int) -> bytes:
    return _STATUS_LINES[status]


def header_lines(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs])


def date_line() -> bytes:
    """The Date header (RFC 9110, 6.6.1), made once a second."""
    return _date_line(int(time.time()))


@lru_cache(maxsize=1)
def _date_line(second: int) -> bytes:
    return b"date: " + formatdate(second, usegmt=True).encode() + b"\r\n"


def openai_error(refusal: Refusal) -> dict[str, Any]:
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.kind,
            "param": None,
            "code": refusal.code,
        }
    }


def anthropic_error(refusal: Refusal) -> dict[str, Any]:
    """Anthropic's envelope; `code` is an addition of ours that its SDK leaves alone."""
    kind = _ANTHROPIC_KINDS.get(refusal.status)
    if kind is None:
        kind = "invalid_request_error" if refusal.status < 500 else "api_error"
    return {
        "type": "error",
        "error": {"type": kind, "message": refusal.message, "code": refusal.code},
    }


def envelope(refusal: Refusal, dialect: Dialect) -> bytes:
    shape = anthropic_error if dialect is Dialect.MESSAGES else openai_error
    return compact(shape(refusal))


def compact(value: object) -> bytes:
    """JSON on one line. In ASCII, for what NanoGPT sends may hold what UTF-8 cannot."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
