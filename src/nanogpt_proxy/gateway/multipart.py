"""Hop 6: what identifies people or conversations is taken out of uploads, while they stream.

Form fields of such names are dropped with their delimiter, file names become neutral ones; all
other bytes pass as they came. What two parsers could read differently is refused: the next one
might find a field where this one saw none.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from nanogpt_proxy.gateway.part_head import invalid, neutral

_CRLF = b"\r\n"
_MOST_HEAD = 16 * 1024  # bytes of one part's headers

_parameter = re.compile(rb'[ \t]*;[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("[^"\\]*"|[^\s;"\\]+)').match
_boundary = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]").fullmatch
# After a boundary: the end of the line, the end of the body, or not enough to tell.
_follows = re.compile(rb"([ \t]{0,64}\r\n)|(--)").match
_may_follow = re.compile(rb"[ \t]{0,64}\r?|-").fullmatch
_blank = re.compile(rb"[ \t\r\n]*+").fullmatch


def boundary(content_type: bytes) -> bytes:
    """What separates the parts; raises `Refusal` (400) unless it is named once and clearly."""
    at, found = content_type.find(b";"), []
    if at < 0:
        at = len(content_type)
    while match := _parameter(content_type, at):
        at = match.end()
        if match[1].lower().startswith(b"boundary"):
            found.append(match)
    if content_type[at:].strip(b"; \t") or len(found) != 1 or found[0][1].lower() != b"boundary":
        raise invalid("its Content-Type does not name one boundary")
    value = found[0][2].removeprefix(b'"').removesuffix(b'"')
    if not _boundary(value):
        raise invalid("its boundary is not one that RFC 2046 allows")
    return value


def filtered(body: bytes, content_type: bytes) -> bytes:
    """What goes up of an upload that is at hand. Raises `Refusal` (400)."""
    parts = Filter(content_type)
    passed = parts.feed(body)
    parts.end()
    return passed


class Filter:
    """Is fed an upload in pieces of any size and gives out what goes up of each.

    States are methods named after what they expect; `True` means that they went on.
    """

    def __init__(self, content_type: bytes) -> None:
        self._delimiter = b"--" + boundary(content_type)
        self._buffer = b""
        self._done = 0  # bytes at the buffer's beginning that are there for context alone
        self._head = b""
        self._passes = True
        self._out: list[bytes] = []
        self._state: Callable[[], bool] = self._beginning

    def feed(self, data: bytes) -> bytes:
        """Takes a piece; what may go up by now. Raises `Refusal` (400)."""
        self._buffer += data
        while self._state():
            pass
        passed = b"".join(self._out)
        self._out.clear()
        return passed

    def end(self) -> None:
        """The upload is over. Raises `Refusal` (400) if its last boundary is missing."""
        if self._state != self._epilogue:
            raise invalid("its last boundary is missing")

    def _beginning(self) -> bool:
        delimiter, buffer = self._delimiter, self._buffer
        start = buffer.removeprefix(_CRLF) if buffer != b"\r" else b""
        if not delimiter.startswith(start[: len(delimiter)]):
            raise invalid("it does not begin with its boundary")
        if len(start) < len(delimiter):
            return False
        self._out.append(buffer[: len(buffer) - len(start)])
        self._buffer = start[len(delimiter) :]
        self._state = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        match = _follows(self._buffer)
        if match is None:
            if _may_follow(self._buffer):
                return False
            raise invalid("something follows a boundary on its line")
        self._buffer = self._buffer[match.end() :]
        if match[1] is None:
            self._out.append(self._delimiter + match[0])
            self._state = self._epilogue
        else:
            self._head = self._delimiter + match[0]
            self._state = self._part_head
        return True

    def _part_head(self) -> bool:
        head, end, rest = self._buffer.partition(_CRLF + _CRLF)
        if len(head) > _MOST_HEAD + (0 if end else len(_CRLF + _CRLF) - 1):
            raise invalid(f"a part has more than {_MOST_HEAD} bytes of headers")
        if not end:
            return False
        changed = neutral(head)
        self._passes = changed is not None
        if changed is not None:
            self._out.append(self._head + changed + end)
        self._buffer, self._done = _CRLF + rest, len(_CRLF)  # the line before the first one
        self._state = self._content
        return True

    def _content(self) -> bool:
        buffer, done, delimiter = self._buffer, self._done, self._delimiter
        at = buffer.find(delimiter, done)
        while at >= 0:
            if at - done >= 2 and buffer[at - 2 : at] == _CRLF:
                self._pass(buffer[done:at])
                self._buffer = buffer[at + len(delimiter) :]
                self._state = self._after_delimiter
                return True
            if buffer[at - 1 : at] in (b"\r", b"\n"):
                raise invalid("a boundary stands on a line that does not begin as it should")
            at = buffer.find(delimiter, at + 1)
        # The end may be the beginning of a boundary; what stands before that tells more of it.
        cut = max(done, len(buffer) - len(delimiter) - 1)
        self._pass(buffer[done:cut])
        self._buffer, self._done = buffer[cut - 2 :], 2
        return False

    def _pass(self, data: bytes) -> None:
        if self._passes:
            self._out.append(data)

    def _epilogue(self) -> bool:
        if not _blank(self._buffer):
            raise invalid("something follows its last boundary")
        self._out.append(self._buffer)
        self._buffer = b""
        return False
