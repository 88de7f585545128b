"""Hop 6: which headers cross the border, in both directions, by allow-list.

Names are compared in lower case with `_` as `-`, because backends and frameworks fold them so:
`X_User` beside `X-User` is how identity headers were smuggled past other proxies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nanogpt_proxy import __version__
from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.models import Secret

RawHeaders = list[tuple[bytes, bytes]]
Fields = Mapping[bytes, bytes]
"""Known headers by their folded name; values trimmed and not empty."""

EMAIL = b"x-openwebui-user-email"
_IDENTITY = frozenset(
    {
        EMAIL,
        b"x-openwebui-user-id",
        b"x-openwebui-user-name",
        b"x-openwebui-user-role",
        b"x-openwebui-user-jwt",
    }
)
_GUARDED = _IDENTITY | {b"authorization", b"x-api-key"}

# Folded name to the spelling that NanoGPT documents.
_UP: Mapping[bytes, bytes] = {
    name.replace(b"_", b"-"): name
    for name in (
        b"accept",
        b"content-type",
        b"x-provider",
        b"x-billing-mode",
        b"x-use-byok",
        b"x-byok-provider",
        b"memory",
        b"memory_expiration_days",
        b"moderation",
        b"moderation-model",
        b"redaction",
        b"redacted",
        b"piiredaction",
        b"piiredacted",
        b"anthropic-beta",
        b"anthropic-version",
        b"x-prompt-caching-cut-after",
        b"x-team-id",
        b"x-encryption-key",
        b"x-encryption-passphrase",
        b"idempotency-key",
    )
}
_READ_ONLY = frozenset({b"content-encoding"})
_KNOWN = _GUARDED | _READ_ONLY | _UP.keys()

_DOWN = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-type",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"retry-after",
        b"vary",
        b"www-authenticate",
        b"x-cost",
        b"x-nano-cost",
        b"x-nanogpt-advisor-id",
        b"x-nanogpt-inline-moderation-cost-usd",
        b"x-nanogpt-inline-moderation-flagged",
        b"x-nanogpt-inline-moderation-model",
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-remaining-balance",
        b"x-request-id",
    }
)

_FIXED_UP = (
    b"accept-encoding: identity\r\nuser-agent: nanogpt-proxy/" + __version__.encode() + b"\r\n"
)


def fold(name: bytes) -> bytes:
    """The form in which names are compared."""
    return name.lower().replace(b"_", b"-")


def read(raw: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The known headers of a request; unknown ones are dropped, repeated ones joined.

    Raises `Refusal` (400) when a credential or an identity header occurs twice, or once with
    `_` in its name: which of two would count is anybody's guess, and an attacker's choice.
    """
    fields: dict[bytes, bytes] = {}
    guarded = set()
    for name, value in raw:
        low = name.lower()
        folded = low.replace(b"_", b"-")
        if folded not in _KNOWN:
            continue
        if folded in _GUARDED:
            if folded in guarded or low != folded:
                raise _ambiguous(folded)
            guarded.add(folded)
        value = value.strip()
        if value:
            before = fields.get(folded)
            fields[folded] = value if before is None else before + b", " + value
    return fields


def _ambiguous(name: bytes) -> Refusal:
    return Refusal(
        400,
        "ambiguous_header",
        f"The header {name.decode()} must occur once and be spelled with '-', not '_'.",
    )


def upward(fields: Fields, key: Secret) -> bytes:
    """The header lines that go to NanoGPT: what may pass, the user's own key, and ours."""
    lines = [_UP[name] + b": " + value + b"\r\n" for name, value in fields.items() if name in _UP]
    if b"accept" not in fields:
        lines.append(b"accept: */*\r\n")
    lines.append(b"authorization: Bearer " + key.reveal().encode("ascii") + b"\r\n")
    lines.append(_FIXED_UP)
    return b"".join(lines)


def anonymous() -> bytes:
    """The header lines of a call of our own, without a key and without any caller's header."""
    return b"accept: application/json\r\n" + _FIXED_UP


def downward(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of NanoGPT's answer that the client sees, names in lower case."""
    passed = []
    for name, value in raw:
        low = name.lower()
        if low in _DOWN:
            passed.append((low, value))
    return passed
