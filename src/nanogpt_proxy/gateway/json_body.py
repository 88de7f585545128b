"""Hop 6: is this body one JSON object in UTF-8? Judged without changing or copying it.

Small bodies are judged at once by msgspec, which builds nothing. Large ones are read by a scanner
of our own in small steps: every library holds the interpreter until it is through.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

import msgspec

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.members import IDENTITY, ONCE, Members

AT_ONCE = 1024 * 1024
"""Bodies up to this many bytes are judged by msgspec, in some milliseconds at the worst."""

SCAN_AT_ONCE = 4 * 1024
"""And up to this many by the scanner, in some milliseconds at the worst."""

_STEP = 64 * 1024  # bytes that one step of the scanner looks at

_Pattern = Callable[[bytes, int, int], re.Match[bytes] | None]

_decoder = msgspec.json.Decoder(msgspec.Raw)

_WS = rb"[ \t\n\r]*+"
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_INSIDE = rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_STRING = rb'"' + _INSIDE + rb'"'


def _nested(levels: int) -> bytes:
    """The pattern of a value that holds others at most `levels` deep."""
    value = _NUMBER + rb"|true|false|null|" + _STRING
    for _ in range(levels):
        item = rb"(?:" + value + rb")" + _WS
        member = _STRING + _WS + rb":" + _WS + item
        value += b"".join(
            rb"|" + opening + _WS + rb"(?:" + one + rb"(?:," + _WS + one + rb")*+)?+" + closing
            for opening, one, closing in ((rb"\[", item, rb"\]"), (rb"\{", member, rb"\}"))
        )
    return rb"(?:" + value + rb")" + _WS


_SMALL = _nested(2)

_space = re.compile(_WS).match
_inside = re.compile(_INSIDE).match
_brackets = re.compile(rb"\[++").match
_closing = re.compile(rb"\]++").match
_bare = re.compile(_NUMBER + rb"|true|false|null").match
# Runs of small values that are followed by a comma: most of a body in a few calls.
_items = re.compile(rb"(?:" + _WS + _SMALL + rb",)*+").match
_members = re.compile(rb"(?:" + _WS + _STRING + _WS + rb":" + _WS + _SMALL + rb",)*+").match
# The same in the outermost object, as far as nobody wants to know their names.
_NAMES = "|".join(sorted(IDENTITY | ONCE)).encode()
_DULL = rb'"(?!(?:' + _NAMES + rb')")[^"\\\x00-\x1f]*+"'
_dull = re.compile(rb"(?:" + _WS + _DULL + _WS + rb":" + _WS + _SMALL + rb",)*+").match


def _malformed(reason: str) -> Refusal:
    return Refusal(
        400, "invalid_json", f"The request body must be one JSON object in UTF-8: {reason}."
    )


def check(body: bytes) -> bool:
    """Judges a body at once; `False` leaves it to `Judge`. Raises `Refusal` (400)."""
    if len(body) > AT_ONCE:
        return False
    if not body.lstrip(b" \t\n\r").startswith(b"{"):
        raise _malformed("it does not start with {")
    try:
        if not body.isascii():
            body.decode("utf-8")
        _decoder.decode(body)
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses lone surrogates and deep nesting too, which are JSON all the same.
        if len(body) > SCAN_AT_ONCE:
            return False
        scanner = Scanner(body)
        while scanner.step():
            pass
    return True


class Scanner:
    """Reads one JSON object by the grammar of RFC 8259, a bounded piece of work a step.

    Open brackets are kept in a byte array, not on the interpreter's stack: depth is bounded by
    the body's length alone. States are methods named after what they expect.
    """

    def __init__(self, body: bytes, members: Members | None = None) -> None:
        self._body = body
        self._members = Members() if members is None else members
        self._name = 0  # where the name of a member begins
        self._at = 0
        self._open = bytearray()
        self._in_key = False
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._state: Callable[[], None] | None = self._encoding

    def step(self) -> bool:
        """Does one piece of work; `False` when all is read. Raises `Refusal` (400)."""
        if self._state is None:
            return False
        self._state()
        return True

    def _encoding(self) -> None:
        piece = self._body[self._at : self._at + _STEP]
        self._at += _STEP
        last = self._at >= len(self._body)
        try:
            self._utf8.decode(piece, final=last)
        except UnicodeDecodeError:
            raise _malformed("it is not UTF-8") from None
        if last:
            self._at = 0
            self._state = self._start

    def _start(self) -> None:
        if self._skip_space():
            if self._next() != b"{":
                raise self._fault("it does not start with {")
            self._state = self._value

    def _value(self) -> None:
        if not self._skip_space():
            return
        first = self._next()
        if first == b'"':
            self._at += 1
            self._in_key = False
            self._state = self._string
        elif first == b"{":
            self._at += 1
            self._open += first
            self._state = self._first_member
        elif first == b"[":
            self._open += b"[" * self._run(_brackets)
            self._state = self._first_item
        else:
            self._bare()

    def _bare(self) -> None:
        match = _bare(self._body, self._at, self._at + _STEP)
        if match is None:
            raise self._fault("a value is expected")
        if match.end() == self._at + _STEP:
            raise self._fault("a number is longer than 64 KiB")
        self._at = match.end()
        self._state = self._after_value

    def _string(self) -> None:
        match = _inside(self._body, self._at, self._at + _STEP)
        end = match.end() if match else self._at
        if self._body[end : end + 1] == b'"':
            self._at = end + 1
            self._state = self._colon if self._in_key else self._after_value
            if self._in_key and len(self._open) == 1:
                self._members.named(self._body, self._name, self._at)
        elif end == self._at:
            raise self._fault("a string is cut short or holds what must be escaped")
        else:
            self._at = end

    def _first_item(self) -> None:
        self._empty_or(b"]", self._item)

    def _first_member(self) -> None:
        self._empty_or(b"}", self._member)

    def _empty_or(self, bracket: bytes, state: Callable[[], None]) -> None:
        if not self._skip_space():
            return
        if self._next() == bracket:
            self._at += 1
            self._open.pop()
            self._state = self._after_value
        else:
            self._state = state

    def _item(self) -> None:
        if not self._run(_items):
            self._state = self._value

    def _member(self) -> None:
        outermost = len(self._open) == 1
        if not self._run(_dull if outermost else _members):
            self._state = self._key
        elif outermost:
            self._members.passed(self._at - 1)

    def _run(self, pattern: _Pattern) -> int:
        """Reads as much as matches, within a step; how many bytes that was."""
        match = pattern(self._body, self._at, self._at + _STEP)
        start, self._at = self._at, match.end() if match else self._at
        return self._at - start

    def _key(self) -> None:
        if self._skip_space():
            if self._next() != b'"':
                raise self._fault("a member's name is expected")
            self._name = self._at
            self._at += 1
            self._in_key = True
            self._state = self._string

    def _colon(self) -> None:
        if self._skip_space():
            if self._next() != b":":
                raise self._fault("a colon is expected")
            self._at += 1
            self._state = self._value

    def _after_value(self) -> None:
        if not self._skip_space():
            return
        follows = self._next()
        if not self._open:
            if follows:
                raise self._fault("something follows the object")
            self._state = None
            return
        in_object = self._open[-1] == ord("{")
        if len(self._open) == 1 and follows in (b",", b"}"):
            self._members.ended(self._at, last=follows == b"}")
        if follows == b",":
            self._at += 1
            self._state = self._member if in_object else self._item
        elif follows == b"]" and not in_object:
            self._close_arrays()
        elif follows == b"}" and in_object:
            self._at += 1
            self._open.pop()
        else:
            raise self._fault("a comma or a closing bracket is expected")

    def _close_arrays(self) -> None:
        start = self._at
        innermost = self._open[-self._run(_closing) :]
        closed = len(innermost) - len(innermost.rstrip(b"["))
        self._at = start + closed
        del self._open[-closed:]

    def _next(self) -> bytes:
        return self._body[self._at : self._at + 1]

    def _skip_space(self) -> bool:
        """`False` while there may be more of it."""
        match = _space(self._body, self._at, self._at + _STEP)
        end = match.end() if match else self._at
        more = end == self._at + _STEP
        self._at = end
        return not more

    def _fault(self, reason: str) -> Refusal:
        return _malformed(f"{reason} at byte {self._at}")
