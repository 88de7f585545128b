"""Hop 6: which headers cross the border, in both directions, by allow-list.

Names are compared in lower case with `_` as `-`, because backends and frameworks fold them so:
`X_User` beside `X-User` is how identity headers were smuggled past other proxies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache

from nanogpt_proxy import __version__
from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.models import Secret

RawHeaders = list[tuple[bytes, bytes]]
Fields = Mapping[bytes, bytes]
"""Known headers by their folded name; values trimmed and not empty."""


class _Dropping(RawHeaders):
    def append(self, item: tuple[bytes, bytes], /) -> None:
        """Not kept."""


DROPPED: RawHeaders = _Dropping()
"""Takes headers that nobody wants, such as trailers."""

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
# Read by us alone. Spelled with `_` these are other headers to the parser, and so to us.
_FRAMING = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"expect"})
_READ_ONLY = frozenset({b"content-encoding"})
_KNOWN = _GUARDED | _READ_ONLY | _FRAMING | _UP.keys()

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


class _Spellings(dict[bytes, bytes | None]):
    """Names as they are spelled to known ones in their folded form; `None` is unknown.

    Clients use few spellings, again and again, so these are remembered. Strangers may send any
    number of any length: long ones are not, and when there are too many, all are forgotten.
    """

    _MOST = 1024
    _LONGEST = 64  # bytes

    def __init__(self, known: AbstractSet[bytes], exact: AbstractSet[bytes] = frozenset()) -> None:
        super().__init__()
        self._known = known
        self._exact = exact

    def __missing__(self, name: bytes) -> bytes | None:
        folded: bytes | None = fold(name)
        if folded not in self._known or (b"_" in name and folded in self._exact):
            folded = None
        if len(name) <= self._LONGEST:
            if len(self) >= self._MOST:
                self.clear()
            self[name] = folded
        return folded


_request_names = _Spellings(_KNOWN, exact=_FRAMING)
_answer_names = _Spellings(_DOWN | {b"connection"}, exact=_DOWN)


def read(raw: Iterable[tuple[bytes, bytes]], *, guard: bool = True) -> Fields:
    """The known headers of a request; unknown ones are dropped, repeated ones joined.

    Raises `Refusal` (400) when a credential or an identity header occurs twice, or once with
    `_` in its name: which of two would count is anybody's guess, and an attacker's choice.
    Without `guard` such headers are left out.
    """
    fields: dict[bytes, bytes] = {}
    guarded: set[bytes] = set()
    for name, value in raw:
        folded = _request_names[name]
        if folded is None:
            continue
        if folded in _GUARDED:
            if not guard:
                continue
            if folded in guarded or b"_" in name:
                raise _ambiguous(folded)
            guarded.add(folded)
        value = value.strip()
        if value:
            before = fields.get(folded)
            fields[folded] = value if before is None else before + b", " + value
    connection = fields.get(b"connection")
    if connection is not None:
        for name in _named(connection) & _UP.keys():
            fields.pop(name, None)
    return fields


@lru_cache(maxsize=256)
def _named(connection: bytes) -> frozenset[bytes]:
    """The headers that a Connection header calls hop-by-hop (RFC 9110, 7.6.1)."""
    return frozenset(fold(name.strip()) for name in connection.split(b","))


def _ambiguous(name: bytes) -> Refusal:
    return Refusal(
        400,
        "ambiguous_header",
        f"The header {name.decode()} must occur once and be spelled with '-', not '_'.",
    )


def upward(fields: Fields, key: Secret) -> bytes:
    """The header lines that go to NanoGPT: what may pass, the user's own key, and ours."""
    lines = [b"%b: %b\r\n" % (_UP[name], value) for name, value in fields.items() if name in _UP]
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
    hop_by_hop: frozenset[bytes] = frozenset()
    for name, value in raw:
        known = _answer_names[name]
        if known == b"connection":
            hop_by_hop |= _named(value)
        elif known is not None:
            passed.append((known, value))
    if hop_by_hop.isdisjoint(_DOWN):
        return passed
    return [pair for pair in passed if pair[0] not in hop_by_hop]
