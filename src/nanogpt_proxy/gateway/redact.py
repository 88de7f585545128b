"""Hop 6: what identifies people or conversations is cut out of JSON bodies.

Only members of the outermost object are looked at: a message or a tool's schema may speak of a
"user", and stays as it is. Nothing is parsed and written anew: all bytes but those of the cut
members, each with its comma, go up as they came.
"""

from __future__ import annotations

import re

from nanogpt_proxy.gateway import json_body
from nanogpt_proxy.gateway.json_body import Scanner
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.members import IDENTITY, Members

# Nearly all bodies are found clean by these, in about a microsecond. Names are ASCII, so other
# spellings of them have escapes of ASCII letters or of the underscore.
_named = re.compile(
    rb'"(?:' + "|".join(sorted(IDENTITY)).encode() + rb')"[ \t\n\r]*+:',
).search
_escaped_letter = re.compile(rb"\\u00[4-7]").search
_SEARCHED = 128 * 1024  # bytes that may be full of quotes
_empty = re.compile(rb"[ \t\n\r]*+\{[ \t\n\r]*+\}").match


def redact(body: bytes, tag: bytes | None = None) -> bytes | None:
    """What of a body goes up, with a pseudonym as its `user` where there is one.

    `None` leaves it to `redact_large`. Raises `Refusal` (400) when it is no JSON object, or
    leaves in doubt which `model` or `stream` counts.
    """
    if not json_body.check(body):
        return None
    if len(body) > _SEARCHED and body.count(b'"') > len(body) // 16:
        return None  # quotes are what the search stops at
    if _is_suspect(body):
        if len(body) > json_body.SCAN_AT_ONCE:
            return None
        members = Members()
        scanner = Scanner(body, members)
        while scanner.step():
            pass
        body = members.without(body)
    return body if tag is None else _tagged(body, tag, empty=_empty(body) is not None)


async def redact_large(judge: Judge, body: bytes, tag: bytes | None = None) -> bytes:
    """The same for any body; gives way to everything else every few milliseconds."""
    members = Members()
    await judge.check(body, members)
    body = members.without(body)
    return body if tag is None else _tagged(body, tag, empty=not members.kept)


def _is_suspect(body: bytes) -> bool:
    return (
        _named(body) is not None
        or body.count(b'"model"') > 1
        or body.count(b'"stream"') > 1
        or (b"\\u00" in body and _escaped_letter(body) is not None)
    )


def _tagged(body: bytes, tag: bytes, *, empty: bool) -> bytes:
    at = body.index(b"{") + 1
    return b'%b"user":"%b"%b%b' % (body[:at], tag, b"" if empty else b",", body[at:])
