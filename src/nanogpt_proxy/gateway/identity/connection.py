"""The connection token: it proves that the caller is our Open WebUI."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from nanogpt_proxy.gateway.headers import Fields
from nanogpt_proxy.gateway.identity.asker import unauthorised
from nanogpt_proxy.models import Secret


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
            raise unauthorised(
                "connection_token_missing",
                "Send the proxy's connection token as the API key of this connection; "
                "the operator reads it with `nanogpt-proxy token`.",
            )
        digest = _digest(presented)
        known = False
        for expected in self._digests:
            known |= hmac.compare_digest(digest, expected)
        if not known:
            raise unauthorised(
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
