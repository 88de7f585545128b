"""The plain headers: as good as the secrecy of the connection token."""

from __future__ import annotations

from functools import lru_cache

from nanogpt_proxy.errors import InvalidEmail, Refusal
from nanogpt_proxy.gateway.headers import EMAIL, USER_ID, USER_JWT, USER_ROLE, Fields
from nanogpt_proxy.gateway.identity.asker import Asker, asker, unauthorised


def read(fields: Fields) -> Asker:
    """Who is named; raises `Refusal` (401) where that cannot be read."""
    email = fields.get(EMAIL)
    if not email:
        raise _unnamed(signed=USER_JWT in fields)
    try:
        return _read(email, fields.get(USER_ID), fields.get(USER_ROLE))
    except (InvalidEmail, ValueError):
        raise unauthorised(
            "identity_invalid",
            "The headers that name the user do not hold an e-mail address, an id and a role; "
            "check the user in Open WebUI.",
        ) from None


@lru_cache(maxsize=4096)
def _read(email: bytes, id: bytes | None, role: bytes | None) -> Asker:
    return asker(
        email.decode("utf-8"),
        None if id is None else id.decode("utf-8"),
        None if role is None else role.decode("utf-8"),
    )


def _unnamed(*, signed: bool) -> Refusal:
    if signed:
        return unauthorised(
            "identity_missing",
            "Beside ENABLE_FORWARD_USER_INFO_HEADERS=true, Open WebUI signs who is asking, which "
            "this proxy cannot check: its operator must set OPENWEBUI_JWT_SECRET here to the "
            "value of FORWARD_USER_INFO_HEADER_JWT_SECRET there.",
        )
    return missing()


def missing() -> Refusal:
    return unauthorised(
        "identity_missing",
        "Open WebUI did not say who is asking; its operator must set "
        "ENABLE_FORWARD_USER_INFO_HEADERS=true.",
    )
