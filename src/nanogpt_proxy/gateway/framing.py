"""Arithmetic on HTTP/1.1 framing that the parser leaves to us, for both sides of the gateway."""

from __future__ import annotations

CHUNK_EXTRAS_LIMIT = 16 * 1024
"""Bytes of chunk extensions and trailers that one message may carry in all (RFC 9112, 7.1.1)."""

# The longest size line without extensions (16 hex digits and CRLF) and the CRLF after the data.
_PLAIN_CHUNK_COST = 20


class ChunkExtras:
    """Counts what a chunked message carries beside its data.

    llhttp reads chunk extensions and trailers without a callback or a bound: somebody could send
    them for hours. What went in, less the data that came out and the cost of plain chunk lines,
    is an estimate of them that is never too high.
    """

    __slots__ = ("_chunks", "_data", "_fed")

    def __init__(self) -> None:
        self._fed = 0
        self._data = 0
        self._chunks = 1

    def fed(self, size: int) -> None:
        self._fed += size

    def data(self, size: int) -> None:
        self._data += size

    def chunk(self) -> None:
        self._chunks += 1

    def too_many(self) -> bool:
        extras = self._fed - self._data - self._chunks * _PLAIN_CHUNK_COST
        return extras > CHUNK_EXTRAS_LIMIT


def after_head(before: bytes, data: bytes | memoryview, heads: int = 1) -> int:
    """How many bytes of `data` come after the blank line that ends the last of so many heads.

    `before` holds the last three bytes that came before `data`, for a blank line that was split.
    The parser accepts CRLF alone as the end of a line, so the first empty one ends the head, and
    heads without a body follow each other.
    """
    joined = before + bytes(data)
    end = -4
    for _ in range(heads):
        end = joined.find(b"\r\n\r\n", end + 4)
        if end < 0:
            return 0
    return len(joined) - end - 4


def ended_exactly(tail: bytes) -> bool:
    """Whether a chunked message ends with its last byte. `tail` holds the last five at least.

    The parser skips line ends between messages in silence, so one that is too many shows only
    in the bytes: the empty line must follow the last chunk's size or a trailer, not another one.
    """
    return tail.endswith(b"\r\n\r\n") and tail[-5:-4] != b"\n"
