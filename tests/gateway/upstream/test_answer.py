"""The framing of an answer; `test_connection` has the bytes that break it."""

from __future__ import annotations

import pytest

from nanogpt_proxy.gateway.upstream.answer import AnswerHead, AnswerParser


def parsed(*pieces: bytes) -> AnswerParser:
    parser = AnswerParser()
    for piece in pieces:
        parser.feed(piece)
    return parser


@pytest.mark.parametrize(
    ("lines", "length", "chunked", "until_close"),
    [
        (b"200 OK\r\nContent-Length: 7\r\n", 7, False, False),
        (b"200 OK\r\nContent-Length: 0\r\n", 0, False, False),
        (b"200 OK\r\nTransfer-Encoding: Chunked \r\n", None, True, False),
        (b"200 OK\r\n", None, False, True),
        (b"204 No Content\r\n", 0, False, False),
        (b"204 No Content\r\nContent-Length: 7\r\n", 0, False, False),
        (b"304 Not Modified\r\nTransfer-Encoding: chunked\r\n", 0, False, False),
    ],
)
def test_how_a_body_is_framed(
    lines: bytes, length: int | None, chunked: bool, until_close: bool
) -> None:
    head = parsed(b"HTTP/1.1 " + lines + b"\r\n").head
    assert isinstance(head, AnswerHead)
    assert (head.length, head.chunked, head.until_close) == (length, chunked, until_close)


def test_what_is_new_stays_until_it_is_taken_out() -> None:
    parser = parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", b"l")
    assert parser.head is not None
    assert (parser.chunks, parser.ended) == ([b"he", b"l"], False)
    parser.head, parser.chunks = None, []
    parser.feed(b"lo")
    assert (parser.head, parser.chunks, parser.ended) == (None, [b"lo"], True)
    assert parser.ended_exactly() and parser.keep_alive


@pytest.mark.parametrize(
    ("text", "proper"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", False),
    ],
)
def test_only_an_answer_until_close_may_end_with_the_connection(text: bytes, proper: bool) -> None:
    parser = parsed(text)
    assert parser.end_of_stream() is proper
    assert parser.ended is proper


def test_one_parser_reads_one_answer_after_the_other() -> None:
    parser = AnswerParser()
    for number in range(3):
        parser.begin()
        parser.feed(b"HTTP/1.1 20%d OK\r\nContent-Length: 1\r\n\r\n%d" % (number, number))
        assert parser.head is not None and parser.head.status == 200 + number
        assert parser.chunks == [b"%d" % number]
        assert parser.ended_exactly()
