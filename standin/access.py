"""Who may do what: keys, as NanoGPT judges them.

Every well-formed key (`sk-nano-<uuid>` or a bare UUID) is good, except one that contains `dead`.
The first eight digits of the UUID give an account its nature, see `NATURES`.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable

from aiohttp import web

from standin.errors import Problem

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_KEY = re.compile(rf"(?:sk-nano-)?({_UUID})")
NATURES = {
    "00000402": "empty",
    "00000403": "origin",
    "00000429": "daily",
    "00000100": "subscriber",
}
"""Empty balance; bound to `ALLOWED_ORIGIN`; daily limit reached; subscription models only."""
ALLOWED_ORIGIN = "https://allowed.example"
_FAILURES = 10
_WINDOW = 60.0
_CHALLENGE = (
    "WWW-Authenticate",
    'Bearer resource_metadata="https://nano-gpt.com/.well-known/oauth-protected-resource"',
)


def nature(key: str | None) -> str:
    """What kind of account the key belongs to; `plain` mostly."""
    match = _KEY.fullmatch(key or "")
    return NATURES.get(match[1][:8], "plain") if match else "plain"


def offered_keys(request: web.BaseRequest) -> list[str]:
    """All credentials of the request, in the order of the documentation."""
    keys = []
    for value in request.headers.getall("Authorization", ()):
        scheme, _, token = value.partition(" ")
        keys.append(token.strip() if scheme.lower() == "bearer" else value)
    return keys + list(request.headers.getall("x-api-key", ()))


class Guard:
    """Judges keys and counts those who guess; `failures` in a minute are too many."""

    def __init__(
        self, *, failures: int = _FAILURES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._clock = clock
        self._bad: dict[str, deque[float]] = {}

    def forget(self) -> None:
        self._bad.clear()

    def admit(self, request: web.BaseRequest) -> str:
        """The key that will pay; `Problem` if there is none that can."""
        keys = offered_keys(request)
        if not keys:
            raise self._no_key(request)
        if len(set(keys)) > 1:
            raise Problem(400, "conflicting_credentials", "The credentials name different keys.")
        key = keys[0]
        match = _KEY.fullmatch(key)
        if match is None or "dead" in key.lower():
            raise self._bad_key(key)
        self._judge(nature(key), request.headers.get("Origin"))
        return key

    @staticmethod
    def _judge(kind: str, origin: str | None) -> None:
        if kind == "empty":
            raise Problem(
                402, "insufficient_balance", "Insufficient balance", kind="insufficient_quota"
            )
        if kind == "origin" and origin not in (None, ALLOWED_ORIGIN):
            raise Problem(403, "api_key_origin_not_allowed", "This origin may not use the API key.")
        if kind == "daily":
            message = "Daily request limit exceeded (1000/1000). Resets at midnight UTC."
            seconds = 86400 - int(time.time()) % 86400
            raise Problem(
                429, "daily_rpd_limit_exceeded", message, headers=[("Retry-After", str(seconds))]
            )

    @staticmethod
    def _no_key(request: web.BaseRequest) -> Problem:
        if request.headers.get("x-x402", "").lower() == "true":
            return X402()
        return Problem(
            401,
            "missing_api_key",
            "API key is required.",
            kind="missing_api_key",
            headers=[_CHALLENGE],
            extra={"status": 401},
        )

    def _bad_key(self, key: str) -> Problem:
        now = self._clock()
        times = self._bad.setdefault(key, deque())
        while times and now - times[0] > _WINDOW:
            times.popleft()
        if len(times) >= self._failures:
            message = "Rate limit exceeded"
            return Problem(429, "rate_limit_exceeded", message, headers=[("Retry-After", "60")])
        times.append(now)
        return Problem(
            401,
            "invalid_api_key",
            "Invalid session",
            headers=[_CHALLENGE],
            extra={"status": 401},
        )


class X402(Problem):
    """No key, but an offer to pay by x402: answered with what a call would cost."""

    def __init__(self) -> None:
        super().__init__(402, "payment_required", "Payment required")
        self.payment = {
            "x402Version": 1,
            "accepts": [{"scheme": "nano", "network": "nano", "amount": "0.0035"}],
        }
