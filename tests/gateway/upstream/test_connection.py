"""One answer a request: the same however it is split, and nothing left over for the next one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nanogpt_proxy.gateway.upstream import Failure
from tests.gateway.conftest import pieces, turns
from tests.gateway.upstream.conftest import Asked, Sink

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
PLAIN = OK + b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM = CHUNKED + b"6\r\ndata: \r\n7;a=b\r\n[DONE]\n\r\n0\r\n\r\n"
TRAILERS = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
UNTIL_CLOSE = OK + b"Content-Type: audio/mpeg\r\n\r\n\xff\xfb" + b"\r\n" * 5

EXACT = {
    "empty": EMPTY,
    "plain": PLAIN,
    "chunked": STREAM,
    "trailers": TRAILERS,
    "no chunks": CHUNKED + b"0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    "304 with a length": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "an error": b"HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\n{}",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n\r\n",
    "line ends": OK + b"Content-Length: 6\r\n\r\n\r\n\r\n\r\n",
    "binary": OK + b"Content-Length: 256\r\n\r\n" + bytes(range(256)),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
}
CLOSING = {
    "closing": OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    "closing chunks": OK
    + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
}
STRAY = {
    "another answer": PLAIN,
    "a line end": b"\r\n",
    "half a line end": b"\r",
    "a bare line feed": b"\n",
    "two line ends": b"\r\n\r\n",
    "garbage": b"garbage",
    "a NUL": b"\0",
    "the head of an answer": b"HTTP/1.1 200 OK\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a last chunk": b"0\r\n\r\n",
}
GARBAGE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "no version": b"200 OK\r\n\r\n",
    "HTTP/0.9": b"<html></html>",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a folded line": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a bare CR": OK + b"X: a\rb\r\n\r\n",
    "a NUL": OK + b"X: a\0b\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a bad length": OK + b"Content-Length: x\r\n\r\n",
    "an endless length": OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "length and coding": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nabc",
}
BROKEN = {
    "a chunk of no size": CHUNKED + b"2\r\nab\r\nxyz\r\n",
    "a chunk too long": CHUNKED + b"2\r\nabcd\r\n0\r\n\r\n",
    "a bare line feed": CHUNKED + b"2\r\nab\n0\r\n\r\n",
}


def seen(sink: Sink) -> tuple[Any, ...]:
    assert not sink.after_the_end
    head = sink.head
    said = (head.status, tuple(head.headers), head.length, head.chunked) if head else None
    return (said, sink.body, sink.ended, sink.failure)


def read(data: bytes, cuts: list[int], *, end: bool = False) -> tuple[Any, ...]:
    asked = Asked()
    asked.feed(*pieces(data, cuts))
    if end:
        asked.end()
    return seen(asked.sink)


@pytest.mark.parametrize("answer", EXACT.values(), ids=EXACT)
def test_an_answer_that_ends_exactly_gives_the_connection_back(answer: bytes) -> None:
    for cuts in ([], list(range(len(answer)))):
        asked = Asked()
        asked.feed(*pieces(answer, cuts))
        assert asked.sink.ended == 1
        assert asked.reusable
        assert asked.connection.usable()


@pytest.mark.parametrize("answer", CLOSING.values(), ids=CLOSING)
def test_one_that_says_close_is_whole_and_closes(answer: bytes) -> None:
    asked = Asked()
    asked.feed(answer)
    assert asked.sink.ended == 1
    assert not asked.reusable


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY)
@pytest.mark.parametrize("answer", EXACT.values(), ids=EXACT)
def test_a_byte_beyond_the_answer_closes_the_connection(answer: bytes, stray: bytes) -> None:
    data = answer + stray
    whole = read(answer, [])
    for cut in range(len(data)):
        asked = Asked()
        asked.feed(*pieces(data, [cut]))
        assert seen(asked.sink) == whole, "the answer itself is good"
        assert asked.closed
        assert not asked.connection.usable()


def test_a_byte_while_idle_closes_it(asked: Asked) -> None:
    asked.feed(PLAIN)
    assert asked.reusable
    asked.protocol.data_received(b"\r\n")
    assert asked.closed
    assert not asked.connection.usable()


@pytest.mark.parametrize("unread", [b"x", b"\r\n", None])
def test_unread_bytes_and_an_unread_end_are_seen_before_it_is_used(unread: bytes | None) -> None:
    asked = Asked()
    asked.feed(PLAIN)
    assert asked.connection.usable()
    asked.sock.unread = unread or b""
    asked.sock.at_end = unread is None
    assert not asked.connection.usable()
    assert asked.sock.unread == (unread or b""), "it looked, and took nothing"


def test_an_answer_before_the_request_was_sent_closes_it() -> None:
    early = Asked(whole=False)
    early.feed(PLAIN)
    assert (early.sink.body, early.sink.ended) == (b"hello", 1)
    assert not early.reusable
    unflushed = Asked()
    unflushed.unsent = 1
    unflushed.feed(PLAIN)
    assert not unflushed.reusable


def test_a_request_that_was_sent_in_pieces_counts_once_it_is_whole() -> None:
    asked = Asked(whole=False)
    asked.connection.send(b"rest")
    asked.connection.sent_whole()
    asked.feed(PLAIN)
    assert asked.sent.endswith(b"rest")
    assert asked.reusable


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_answer_fails(answer: bytes) -> None:
    for cuts in ([], [len(answer) // 2]):
        asked = Asked()
        asked.feed(*pieces(answer, cuts))
        assert (asked.sink.head, asked.sink.failure) == (None, Failure.GARBLED)
        assert asked.closed and not asked.released


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked\r\nTransfer-Encoding: a"])
def test_a_coding_that_is_not_undone_fails_however_it_comes(coding: bytes) -> None:
    answer = OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for cuts in ([], [answer.index(b"\r\n\r\n") + 4]):
        head, body, ended, failure = read(answer, cuts)
        assert (head, body, ended, failure) == (None, b"", 0, Failure.GARBLED)


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_what_was_good_of_a_broken_answer_is_passed_on_first(answer: bytes) -> None:
    for cuts in ([], list(range(len(answer)))):
        asked = Asked()
        asked.feed(*pieces(answer, cuts))
        assert asked.sink.body == b"ab"
        assert (asked.sink.ended, asked.sink.failure) == (0, Failure.GARBLED)
        assert asked.closed and not asked.released


@pytest.mark.parametrize("cut", [0, 5, 20, len(PLAIN) - 1])
def test_an_end_in_the_middle_fails(cut: int) -> None:
    for answer in (PLAIN, STREAM):
        asked = Asked()
        asked.feed(answer[:cut])
        asked.end()
        assert (asked.sink.ended, asked.sink.failure) == (0, Failure.CLOSED)


async def test_a_connection_that_is_lost_fails_once() -> None:
    asked = Asked()
    asked.feed(STREAM[:-3])
    asked.protocol.connection_lost(ConnectionResetError())
    assert (asked.sink.ended, asked.sink.failure) == (0, Failure.CLOSED)
    assert asked.lost == [asked.connection]
    asked.connection.send(b"more")
    assert b"more" not in asked.sent
    assert not asked.connection.usable()


def test_an_answer_until_close_ends_with_the_connection() -> None:
    asked = Asked()
    asked.feed(UNTIL_CLOSE)
    assert (asked.sink.body, asked.sink.ended) == (b"\xff\xfb" + b"\r\n" * 5, 0)
    assert asked.sink.head is not None and asked.sink.head.until_close
    asked.end()
    assert (asked.sink.ended, asked.sink.failure) == (1, None)
    assert not asked.reusable


def test_interim_answers_are_left_out() -> None:
    asked = Asked()
    asked.feed(INTERIM)
    assert seen(asked.sink) == (None, b"", 0, None)
    asked.feed(PLAIN)
    assert seen(asked.sink) == read(PLAIN, [])


def test_endless_interim_answers_fail() -> None:
    asked = Asked()
    asked.feed(*[INTERIM] * 40)
    assert asked.sink.failure is Failure.GARBLED


def test_an_endless_head_fails() -> None:
    asked = Asked()
    asked.feed(OK, *[b"X: " + b"x" * 1000 + b"\r\n"] * 100)
    assert (asked.sink.head, asked.sink.failure) == (None, Failure.GARBLED)


@pytest.mark.parametrize(
    "flood",
    [
        [CHUNKED + b"5;", *[b"x" * 1000] * 40],
        [CHUNKED + b"5\r\nhello\r\n0\r\nX: ", *[b"x" * 1000] * 40],
        [CHUNKED, *[b"1;" + b"x" * 100 + b"\r\na\r\n"] * 400],
    ],
    ids=["one extension", "a trailer", "many extensions"],
)
def test_a_flood_of_chunk_extensions_fails(flood: list[bytes]) -> None:
    asked = Asked()
    asked.feed(*flood)
    assert asked.sink.failure is Failure.GARBLED
    assert asked.closed and not asked.released


def test_tiny_chunks_are_no_flood() -> None:
    asked = Asked()
    asked.feed(CHUNKED, *[b"1\r\na\r\n" * 100] * 400, b"0\r\n\r\n")
    assert (asked.sink.ended, len(asked.sink.body)) == (1, 40_000)
    assert asked.reusable


ANSWERS = [*EXACT.values(), *CLOSING.values(), UNTIL_CLOSE]
anything = st.sampled_from([*ANSWERS, *GARBAGE.values(), *BROKEN.values(), PLAIN[:-1], STREAM[:-1]])


@hypothesis_settings(max_examples=300)
@given(
    anything,
    st.sampled_from([b"", *STRAY.values()]),
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=10),
    st.booleans(),
)
def test_splits_do_not_matter(
    answer: bytes, stray: bytes, interim: bool, cuts: list[int], end: bool
) -> None:
    data = (INTERIM if interim else b"") + answer + stray
    assert read(data, cuts, end=end) == read(data, [], end=end)


@hypothesis_settings(max_examples=200)
@given(st.binary(max_size=80), st.lists(st.integers(0, 120), max_size=4))
def test_no_bytes_do_harm(data: bytes, cuts: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 ", OK, CHUNKED, OK + b"Content-Length: 3\r\n\r\n"):
        assert read(start + data, cuts, end=True)[2:] != (0, None), "it ends one way or the other"


@hypothesis_settings(max_examples=200)
@given(
    st.lists(st.sampled_from(list(EXACT.values())), min_size=2, max_size=5),
    st.sampled_from([b"", *STRAY.values()]),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_users_of_one_connection_get_their_own_answer_or_none(
    answers: list[bytes], stray: bytes, cuts: list[int]
) -> None:
    asked = Asked()
    for number, answer in enumerate(answers):
        last_but_one = number == len(answers) - 2
        asked.feed(*pieces(answer + (stray if last_but_one else b""), cuts))
        assert seen(asked.sink) == read(answer, [])
        if asked.closed:
            assert stray and last_but_one
            return
        assert asked.released.pop() is asked.connection
        asked.ask(Sink())
    assert not stray


def test_the_next_request_may_begin_before_the_last_answer_is_handed_over() -> None:
    asked = Asked()
    first, second = asked.sink, Sink()

    def hand_on(connection: Any) -> None:
        connection.begin(second, b"GET /2 HTTP/1.1\r\n\r\n", whole=True, release=hand_on)

    asked.connection._release = hand_on
    asked.feed(PLAIN)
    assert seen(first) == read(PLAIN, [])
    assert seen(second) == (None, b"", 0, None)
    asked.feed(STREAM)
    assert seen(second) == read(STREAM, [])


async def test_who_drops_hears_no_more(asked: Asked) -> None:
    asked.feed(STREAM[:-10])
    before = seen(asked.sink)
    asked.connection.drop()
    assert asked.aborted
    asked.protocol.data_received(b"more")
    await turns()
    assert seen(asked.sink) == before
    assert asked.lost == [asked.connection]


def test_reading_is_paused_once_and_goes_on_for_the_next_request(asked: Asked) -> None:
    states = []
    for step in (asked.connection.pause, asked.connection.resume):
        step()
        step()
        states.append(asked.paused)
    assert states == [True, False]
    asked.connection.pause()
    asked.feed(PLAIN)  # it was on its way
    assert asked.reusable
    assert not asked.paused


def test_pausing_what_is_closed_does_nothing(asked: Asked) -> None:
    asked.connection.drop()
    asked.connection.pause()
    asked.connection.resume()
    assert not asked.paused


def test_the_sink_is_told_of_a_slow_upstream(asked: Asked) -> None:
    asked.protocol.pause_writing()
    asked.protocol.resume_writing()
    assert asked.sink.flow == ["full", "drained"]
    asked.feed(PLAIN)
    asked.protocol.pause_writing()
    asked.protocol.resume_writing()
    assert asked.sink.flow == ["full", "drained"]


async def test_an_answer_to_a_refused_upload_is_read_though_writing_broke() -> None:
    asked = Asked(whole=False)
    asked.sock.unread = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"
    asked.protocol.connection_lost(BrokenPipeError())
    assert asked.sink.head is not None and asked.sink.head.status == 413
    assert (asked.sink.body, asked.sink.ended, asked.sink.failure) == (b"{}", 1, None)
    whole = Asked()
    whole.sock.unread = PLAIN
    whole.protocol.connection_lost(ConnectionResetError())
    assert whole.sink.failure is Failure.CLOSED, "a request that went up whole has no such excuse"


def test_a_sink_that_fails_ends_the_connection(
    asked: Asked, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("oh no")

    monkeypatch.setattr(asked.sink, "answer", fail)
    asked.feed(PLAIN[:-1])
    assert asked.aborted
    assert asked.sink.failure is Failure.GARBLED
    assert "oh no" in caplog.text


def test_the_loop_is_not_needed_to_read(asked: Asked) -> None:
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    asked.feed(PLAIN)
    assert asked.sink.ended == 1


@pytest.mark.parametrize("stray", [PLAIN, b"\r\n", b"garbage", None])
async def test_what_comes_before_the_request_has_left_is_nobodys_answer(
    stray: bytes | None, asked: Asked
) -> None:
    asked.feed(PLAIN)
    asked.take()
    sink = Sink()
    asked.connection.begin(sink, b"GET /2\r\n\r\n", whole=True, release=asked.released.append)
    if stray is None:
        asked.end()
    else:
        asked.protocol.data_received(stray)
    assert (seen(sink), sink.unsent) == ((None, b"", 0, None), 1)
    assert asked.closed and len(asked.released) == 1
    await turns()
    assert asked.sent == b"", "it does not leave any more"
    assert sink.unsent == 1, "told once"


def test_an_answer_before_the_end_of_an_upload_has_left_closes_it() -> None:
    asked = Asked(whole=False)
    asked.connection.send(b"the end")
    asked.connection.sent_whole()
    asked.protocol.data_received(PLAIN)  # the end of the upload is still in the outbox
    assert asked.sink.ended == 1
    assert not asked.reusable


def test_a_sink_that_fails_at_the_end_is_told(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("oh no")

    monkeypatch.setattr(asked.sink, "answer", fail)
    asked.feed(PLAIN)
    assert asked.sink.failure is Failure.GARBLED
