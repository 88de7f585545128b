"""What the parser leaves to us: chunk extensions, the end of the head, the exact end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.gateway.framing import (
    CHUNK_EXTRAS_LIMIT,
    ChunkExtras,
    after_head,
    ended_exactly,
)


def count(*pieces: tuple[bytes, int]) -> ChunkExtras:
    """(what stands around the data, bytes of data) of each chunk."""
    extras = ChunkExtras()
    for around, data in pieces:
        extras.fed(len(around) + data)
        extras.data(data)
        extras.chunk()
    return extras


@given(st.lists(st.integers(1, 2**40), max_size=200))
def test_plain_chunks_are_never_too_many(sizes: list[int]) -> None:
    chunks = [(b"%x\r\n\r\n" % size, size) for size in sizes]
    assert not count(*chunks, (b"0\r\n\r\n", 0)).too_many()


@pytest.mark.parametrize("padded", [b"0000000000000001", b"FFFFFFFFFFFFFFF1"])
def test_sizes_of_any_length_are_plain(padded: bytes) -> None:
    assert not count(*[(padded + b"\r\n\r\n", 1)] * 10_000).too_many()


def test_extensions_are_bounded_over_all_chunks() -> None:
    few = count(*[(b"1;" + b"x" * 100 + b"\r\n\r\n", 1)] * 100)
    assert not few.too_many()
    many = count(*[(b"1;" + b"x" * 100 + b"\r\n\r\n", 1)] * 300)
    assert many.too_many()


def test_one_endless_extension_is_noticed_before_its_chunk_begins() -> None:
    extras = ChunkExtras()
    for _ in range(CHUNK_EXTRAS_LIMIT // 1024):
        extras.fed(1024)
        assert not extras.too_many()
    extras.fed(1024)
    assert extras.too_many()


def test_trailers_count_too() -> None:
    extras = count((b"5\r\n\r\n", 5))
    extras.fed(len(b"0\r\n") + 20_000)
    assert extras.too_many()


@given(st.binary(max_size=60), st.binary(max_size=60), st.data())
def test_what_comes_after_the_head_is_counted_however_it_is_split(
    lines: bytes, body: bytes, data: st.DataObject
) -> None:
    head = lines.replace(b"\n", b"x").rstrip(b"\r") + b"\r\n\r\n"
    whole = head + body
    split = data.draw(st.integers(0, len(head) - 1))
    assert after_head(whole[:split][-3:], whole[split:]) == len(body)
    assert after_head(whole[:split][-3:], memoryview(whole)[split:]) == len(body)


def test_nothing_comes_after_a_head_without_an_end() -> None:
    assert after_head(b"", b"GET / HTTP/1.1\r\nHost: a\r\n") == 0
    assert after_head(b"a\r\n", b"b\r\n") == 0


@pytest.mark.parametrize(
    ("message", "exact"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", True),
        (b"5\r\nhello\r\n000\r\n\r\n", True),
        (b"5\r\nhello\r\n0;ext=1\r\n\r\n", True),
        (b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", True),
        (b"5\r\nhello\r\n0\r\nTrailer:\r\n\r\n", True),
        (b"5\r\nhello\r\n0\r\n\r\n\r\n", False),
        (b"5\r\nhello\r\n0\r\n\r\n\r\n\r\n", False),
        (b"5\r\nhello\r\n0\r\n\r\n\n", False),
        (b"5\r\nhello\r\n0\r\n\r\n\r", False),
        (b"5\r\nhello\r\n0\r\n\r\nH", False),
        (b"5\r\nhello\r\n0\r\n", False),
    ],
)
def test_a_line_end_too_many_is_seen(message: bytes, exact: bool) -> None:
    assert ended_exactly(message) is exact
    assert ended_exactly(message[-8:]) is exact
