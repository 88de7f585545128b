"""Tokens as Open WebUI makes them, and as it would not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = "a shared secret of two proxies, made for tests"
PREVIOUS = "the secret that was in force before it, also long"
NOW = 1_800_000_000
HASHES: dict[str, Any] = {
    "HS256": hashlib.sha256,
    "HS384": hashlib.sha384,
    "HS512": hashlib.sha512,
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint(
    secret: str = SECRET,
    *,
    header: Any = None,
    payload: bytes | None = None,
    now: int = NOW,
    **changed: Any,
) -> str:
    """A good token, with other claims where they are given; `...` leaves one out."""
    claims: dict[str, Any] = {
        "sub": "user-1",
        "email": "Alice@example.com",
        "name": "Alice",
        "role": "user",
        "iss": "open-webui",
        "iat": now,
        "exp": now + 300,
    }
    claims = {name: value for name, value in (claims | changed).items() if value is not ...}
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    body = json.dumps(claims).encode() if payload is None else payload
    signed = f"{b64(json.dumps(header).encode())}.{b64(body)}"
    algorithm = header.get("alg") if isinstance(header, dict) else None
    hash = HASHES.get(str(algorithm), hashlib.sha256)
    signature = b"" if algorithm == "none" else hmac.digest(secret.encode(), signed.encode(), hash)
    return f"{signed}.{b64(signature)}"
