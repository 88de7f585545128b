"""Hop 6: the members of a body's outermost object: which are cut out, which may occur only once.

NanoGPT knows who pays by the key. What else tells users or conversations apart stays here.
"""

from __future__ import annotations

import json

from nanogpt_proxy.errors import Refusal

IDENTITY = frozenset(
    {
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "metadata",
        "session_id",
        "trace",
        "chat_id",
        "conversationUUID",
    }
)
"""Names of members and form fields that identify a person or a conversation."""

ONCE = frozenset({"model", "stream"})
"""Members that decisions are made on: of two, NanoGPT might take the other."""

_LONGEST = 2 + 6 * max(map(len, IDENTITY))  # in quotes, every letter as \u0075
# Nobody repeats them. A body of millions would fill the memory with the places of its cuts.
_MOST_CUTS = 256


class Members:
    """Is told of the members of the outermost object, in order, and remembers where to cut."""

    def __init__(self) -> None:
        self._cuts: list[tuple[int, int]] = []
        self._start = 0
        self._cutting = False
        self._kept_comma: int | None = None
        self._once: set[str] = set()
        self.kept = False
        """Whether any member stays."""

    def passed(self, comma: int) -> None:
        """Members of no interest were passed; the last one's comma is at `comma`."""
        self._kept_comma = comma
        self.kept = True

    def named(self, body: bytes, start: int, end: int) -> None:
        """A member's name stands at `body[start:end]`, in its quotes. Raises `Refusal` (400)."""
        self._start = start
        name = _decoded(body[start:end]) if end - start <= _LONGEST else ""
        self._cutting = name in IDENTITY
        if name in ONCE:
            if name in self._once:
                raise Refusal(
                    400, "ambiguous_body", f'The request body has more than one "{name}".'
                )
            self._once.add(name)

    def ended(self, at: int, *, last: bool) -> None:
        """That member is over: at `at` stands its comma, or the closing bracket."""
        if not self._cutting:
            self.passed(at)
            return
        if not last:
            self._cut(self._start, at + 1)
        else:
            if self._kept_comma is not None:
                self._cut(self._kept_comma, self._kept_comma + 1)
            self._cut(self._start, at)

    def _cut(self, start: int, end: int) -> None:
        if len(self._cuts) == _MOST_CUTS:
            raise Refusal(
                400,
                "ambiguous_body",
                f'The request body has more than {_MOST_CUTS} members such as "user".',
            )
        self._cuts.append((start, end))

    def without(self, body: bytes) -> bytes:
        """The body without what was cut; all other bytes as they were."""
        if not self._cuts:
            return body
        view, pieces, at = memoryview(body), [], 0
        for start, end in sorted(self._cuts):
            pieces.append(view[at:start])
            at = end
        pieces.append(view[at:])
        return b"".join(pieces)


def _decoded(quoted: bytes) -> str:
    if b"\\" not in quoted:
        return quoted[1:-1].decode("utf-8", "replace")
    name: str = json.loads(quoted.decode())
    return name
