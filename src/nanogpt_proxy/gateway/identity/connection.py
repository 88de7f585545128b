"""Hop 3: the connection token, then who is asking. Headers and rules in, identity or refusal out.

The token proves that the caller is our Open WebUI; only then is its word about the user believed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache

from nanogpt_proxy.errors import InvalidEmail, Refusal
from nanogpt_proxy.gateway.headers import EMAIL, Fields
from nanogpt_proxy.models import Secret, canonical_email


class ConnectionTokens:
    """The tokens that open the gateway, kept as digests of one length."""

    def __init__(self, tokens: Iterable[Secret]) -> None:
        self._digests = tuple(_digest(token.reveal().encode()) for token in tokens)

    def check(self, fields: Fields) -> None:
        """Raises `Refusal` (401) unless one of the tokens came as a bearer or as `x-api-key`.

        Every token is compared, each in constant time, so that neither a shared prefix nor the
        place in the list shows in how long it takes.
        """
        presented = _presented(fields)
        if presented is None:
            raise _unauthorised(
                "connection_token_missing",
                "Send the proxy's connection token as the API key of this connection; "
                "the operator reads it with `nanogpt-proxy token`.",
            )
        digest = _digest(presented)
        known = False
        for expected in self._digests:
            known |= hmac.compare_digest(digest, expected)
        if not known:
            raise _unauthorised(
                "connection_token_wrong",
                "The API key of this connection is not the proxy's connection token; "
                "the operator reads it with `nanogpt-proxy token`.",
            )


def _digest(token: bytes) -> bytes:
    return hashlib.blake2b(token, digest_size=32).digest()


def _presented(fields: Fields) -> bytes | None:
    authorization = fields.get(b"authorization")
    if authorization is None:
        return fields.get(b"x-api-key")
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def who(fields: Fields) -> str:
    """The canonical e-mail of the asking user; raises `Refusal` (401) without a usable one."""
    email = fields.get(EMAIL)
    if email is None:
        raise _unauthorised(
            "identity_missing",
            "Open WebUI did not say who is asking; its operator must set "
            "ENABLE_FORWARD_USER_INFO_HEADERS=true.",
        )
    try:
        return _email(email)
    except (InvalidEmail, UnicodeDecodeError):
        raise _unauthorised(
            "identity_invalid",
            "The X-OpenWebUI-User-Email header does not hold an e-mail address; "
            "check the user's address in Open WebUI.",
        ) from None


@lru_cache(maxsize=4096)
def _email(value: bytes) -> str:
    return canonical_email(value.decode("utf-8"))


def _unauthorised(code: str, message: str) -> Refusal:
    return Refusal(
        401,
        code,
        message,
        kind="authentication_error",
        headers=(("www-authenticate", "Bearer"),),
    )
