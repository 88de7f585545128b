"""The signed header: a JWT that Open WebUI makes for each request, valid for some minutes.

joserfc is imported when there is a secret: 11 MB and 0.1 s that others need not pay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from nanogpt_proxy.errors import InvalidEmail, Refusal
from nanogpt_proxy.gateway.identity.asker import Asker, asker, unauthorised
from nanogpt_proxy.models import Secret

LEEWAY = 30
"""Seconds by which the clocks of the two machines may differ."""
LONGEST = 4096
"""Bytes of a token."""
_ALGORITHMS = ("HS256",)
_ISSUER = "open-webui"


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    email: str
    role: str
    iat: int | float
    exp: int | float


_claims = msgspec.json.Decoder(_Claims)


class Signatures:
    """Checks tokens by any of the secrets. A good one is remembered until it expires.

    The key of that memory is a hash of all of the token, signature included.
    """

    def __init__(self, secrets: Iterable[Secret], *, capacity: int = 4096) -> None:
        from joserfc import jws
        from joserfc.jwk import OctKey

        self._deserialize = jws.deserialize_compact
        self._keys: list[Any] = [OctKey.import_key(secret.reveal()) for secret in secrets]
        self._capacity = capacity
        self._known: dict[bytes, tuple[Asker, float, float]] = {}

    def verify(self, token: bytes, now: float) -> Asker:
        """Who is named by a token; `now` is in seconds since 1970. Raises `Refusal` (401)."""
        if len(token) > LONGEST:
            raise _invalid(f"is longer than {LONGEST} bytes")
        digest = hashlib.sha256(token).digest()
        known = self._known.get(digest)
        if known is None:
            claims = self._signed(token)
            known = _user(claims), claims.iat - LEEWAY, claims.exp + LEEWAY
            _check_time(known, now)
            self._remember(digest, known)
        else:
            _check_time(known, now)
        return known[0]

    def _signed(self, token: bytes) -> _Claims:
        for key in self._keys:
            try:
                payload = self._deserialize(token, key, algorithms=_ALGORITHMS).payload
            except Exception:  # noqa: S112 - whatever a stranger's bytes make the library raise
                continue
            try:
                return _claims.decode(payload or b"")
            except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                raise _invalid("lacks a claim, or has one of a wrong kind") from None
        raise _invalid(
            "is not signed with the secret that this proxy has: OPENWEBUI_JWT_SECRET here and "
            "FORWARD_USER_INFO_HEADER_JWT_SECRET there must be the same"
        )

    def _remember(self, digest: bytes, known: tuple[Asker, float, float]) -> None:
        if len(self._known) >= self._capacity:
            del self._known[next(iter(self._known))]  # the oldest, which expires first
        self._known[digest] = known


def _user(claims: _Claims) -> Asker:
    if claims.iss != _ISSUER:
        raise _invalid(f"does not come from {_ISSUER}")
    try:
        return asker(claims.email, claims.sub, claims.role)
    except (InvalidEmail, ValueError):
        raise _invalid("does not hold a user's e-mail address, id and role") from None


def _check_time(known: tuple[Asker, float, float], now: float) -> None:
    _, begins, ends = known
    if now < begins:
        raise _invalid("was made in the future; compare the clocks of the two machines")
    if not now < ends:
        raise unauthorised(
            "identity_expired",
            "The signed header that names the user has expired; send the request again, and "
            "compare the clocks of Open WebUI and the proxy if it stays so.",
        )


def _invalid(why: str) -> Refusal:
    return unauthorised("identity_invalid", f"The signed header that names the user {why}.")
