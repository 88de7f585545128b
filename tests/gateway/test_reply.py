"""What a client gets: status and body byte for byte, framing and some headers of our own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.reply import Reply
from nanogpt_proxy.gateway.routes import Dialect
from nanogpt_proxy.gateway.server import Request
from nanogpt_proxy.gateway.upstream import AnswerHead
from tests.gateway.conftest import Answers

REFUSAL = Refusal(502, "upstream_disconnected", "Gone.")


class Client:
    """A connection that keeps what is written."""

    def __init__(self, *, keep: bool = True) -> None:
        self.sent = b""
        self.writes = 0
        self.keep = keep
        self.cuts: list[bool] = []

    def write(self, data: bytes) -> None:
        assert data
        self.sent += data
        self.writes += 1

    def keeps(self, request: Request) -> bool:
        return self.keep

    def cut(self, *, hard: bool) -> None:
        self.cuts.append(hard)


def reply(version: str = "1.1", method: bytes = b"POST", *, keep: bool = True) -> tuple[Any, Reply]:
    request = Request()
    request.version, request.method = version, method
    client: Any = Client(keep=keep)
    return client, Reply(client, request, lambda: "npx-1")


def head(
    status: int = 200, length: int | None = None, chunked: bool = False, **fields: str
) -> AnswerHead:
    answer = AnswerHead()
    answer.status, answer.length, answer.chunked = status, length, chunked
    answer.headers = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()
    ]
    return answer


def relayed(answer: AnswerHead, *chunks: bytes, version: str = "1.1", keep: bool = True) -> Any:
    client, out = reply(version, keep=keep)
    out.relay(answer, list(chunks), True, Dialect.CHAT)
    return client, out


SSE: dict[str, Any] = {"content_type": "text/event-stream; charset=utf-8"}


def test_an_answer_of_known_length_keeps_it() -> None:
    client, out = relayed(head(length=5, content_type="application/json"), b"he", b"llo")
    answers = Answers(client.sent)
    assert (answers.statuses, answers.bodies, answers.whole) == ([200], [b"hello"], [True])
    assert answers.headers[0]["content-length"] == "5"
    assert "transfer-encoding" not in answers.headers[0]
    assert (client.writes, out.sent, out.status) == (1, len(client.sent), 200)
    assert out.begun and out.keep and out.is_complete()


@pytest.mark.parametrize("chunked", [True, False])
def test_one_of_unknown_length_is_chunked(chunked: bool) -> None:
    client, out = relayed(head(chunked=chunked, content_type="audio/mpeg"), b"\xff\xfb", b"\0")
    assert client.sent.endswith(b"\r\n\r\n3\r\n\xff\xfb\0\r\n0\r\n\r\n")
    assert Answers(client.sent).bodies == [b"\xff\xfb\0"]
    assert "content-length" not in Answers(client.sent).headers[0]
    assert out.keep


def test_an_old_client_gets_it_until_close() -> None:
    client, out = relayed(head(chunked=True), b"abc", version="1.0")
    assert client.sent.endswith(b"connection: close\r\n\r\nabc")
    assert b"chunked" not in client.sent
    assert not out.keep
    client, out = relayed(head(length=3), b"abc", version="1.0")
    assert b"connection: keep-alive\r\n" in client.sent and out.keep


def test_it_says_when_the_connection_will_close() -> None:
    client, out = relayed(head(length=0), keep=False)
    assert b"connection: close\r\n" in client.sent and not out.keep


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_has_no_framing(status: int) -> None:
    client, _ = relayed(head(status, 0, etag='"a"'))
    assert b"content-length" not in client.sent and b"transfer-encoding" not in client.sent
    assert Answers(client.sent).whole == [True]
    assert client.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [200, 201, 400, 401, 402, 429, 500, 529, 599])
def test_status_and_body_of_errors_come_through(status: int) -> None:
    client, out = relayed(head(status, 11, retry_after="7"), b'{"error":1}')
    answers = Answers(client.sent)
    assert (answers.statuses, answers.bodies) == ([status], [b'{"error":1}'])
    assert answers.headers[0]["retry-after"] == "7"
    assert out.is_complete()


def test_headers_that_may_not_pass_do_not() -> None:
    client, _ = relayed(
        head(length=0, set_cookie="a=b", server="x", connection="x-a", x_a="b", x_cost="1")
    )
    said = Answers(client.sent).headers[0]
    assert said.keys() == {"x-cost", "x-request-id", "date", "content-length"}


def test_the_request_id_is_nanogpts_or_ours() -> None:
    client, out = relayed(head(length=0, x_request_id="req_1"))
    assert Answers(client.sent).headers[0]["x-request-id"] == out.request_id == "req_1"
    client, out = relayed(head(length=0))
    assert Answers(client.sent).headers[0]["x-request-id"] == out.request_id == "npx-1"


def test_the_date_is_nanogpts_or_ours() -> None:
    client, _ = relayed(head(length=0, date="Mon, 23 Nov 2026 20:00:00 GMT"))
    assert Answers(client.sent).headers[0]["date"] == "Mon, 23 Nov 2026 20:00:00 GMT"
    client, _ = relayed(head(length=0))
    assert Answers(client.sent).headers[0]["date"].endswith(" GMT")


def test_streams_are_not_cached_nor_buffered_nor_of_known_length() -> None:
    client, _ = relayed(
        head(length=6, cache_control="public, max-age=60", x_accel_buffering="yes", **SSE),
        b": ok\n\n",
    )
    said = Answers(client.sent).headers[0]
    assert said["cache-control"] == "no-cache"
    assert said["x-accel-buffering"] == "no"
    assert "content-length" not in said
    assert Answers(client.sent).bodies == [b": ok\n\n"]


def test_each_read_is_one_write() -> None:
    client, out = reply()
    out.relay(head(chunked=True, **SSE), [b"data: a\n\n"], False, Dialect.CHAT)
    out.relay(None, [b"data: ", b"b\n\n"], False, Dialect.CHAT)
    out.relay(None, [], False, Dialect.CHAT)
    out.relay(None, [b"data: [DONE]\n\n"], True, Dialect.CHAT)
    assert client.writes == 3
    assert Answers(client.sent).bodies == [b"data: a\n\ndata: b\n\ndata: [DONE]\n\n"]
    assert out.is_complete()
    assert out.sent == len(client.sent)


@pytest.mark.parametrize(
    ("fields", "status", "body", "complete"),
    [
        (SSE, 200, b"data: [DONE]\n\n", True),
        (SSE, 200, b"data: {}\n\n", False),
        (SSE, 402, b"data: {}\n\n", True),
        ({"content_type": "application/json"}, 200, b"{}", True),
        (SSE | {"content_encoding": "gzip"}, 200, b"\x1f\x8b", True),
    ],
)
def test_a_stream_is_complete_with_its_marker(
    fields: dict[str, Any], status: int, body: bytes, complete: bool
) -> None:
    _, out = relayed(head(status, chunked=True, **fields), body)
    assert out.is_complete() is complete


def test_an_answer_of_our_own() -> None:
    client, out = reply()
    out.whole(404, [(b"allow", b"GET")], b'{"a":1}')
    answers = Answers(client.sent)
    assert (answers.statuses, answers.bodies) == ([404], [b'{"a":1}'])
    said = answers.headers[0]
    assert said["allow"] == "GET" and said["content-type"] == "application/json"
    assert said["x-request-id"] == "npx-1" and "date" in said
    client, out = reply(method=b"HEAD")
    out.whole(200, [], b'{"a":1}')
    assert b"content-length: 7\r\n" in client.sent and client.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_stream_that_breaks_is_ended_with_an_error(version: str) -> None:
    client, out = reply(version)
    out.relay(head(chunked=True, **SSE), [b"data: {"], False, Dialect.CHAT)
    assert out.break_off(REFUSAL)
    assert client.cuts == []
    body = Answers(client.sent).bodies[0] if version == "1.1" else client.sent
    assert b'data: {\n\ndata: {"error":' in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert client.sent.endswith(b"0\r\n\r\n") is (version == "1.1")
    assert out.sent == len(client.sent)


def test_one_that_breaks_after_its_marker_just_ends() -> None:
    client, out = reply()
    out.relay(head(chunked=True, **SSE), [b"data: [DONE]\n\n"], False, Dialect.CHAT)
    assert out.break_off(REFUSAL)
    assert Answers(client.sent).bodies == [b"data: [DONE]\n\n"]
    assert Answers(client.sent).whole == [True]


@pytest.mark.parametrize(
    ("answer", "version", "hard"),
    [
        (head(length=5), "1.1", False),
        (head(chunked=True), "1.1", False),
        (head(length=5), "1.0", False),
        (head(chunked=True), "1.0", True),
        (head(chunked=True, content_encoding="gzip", **SSE), "1.1", False),
    ],
)
def test_anything_else_that_breaks_is_cut(answer: AnswerHead, version: str, hard: bool) -> None:
    client, out = reply(version)
    out.relay(answer, [b"abc"], False, Dialect.CHAT)
    before = client.sent
    assert not out.break_off(REFUSAL)
    assert (client.cuts, client.sent) == ([hard], before)


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=50), max_size=4), max_size=6),
    st.sampled_from([SSE, {"content_type": "audio/mpeg"}]),
)
def test_the_body_comes_through_byte_for_byte(
    reads: list[list[bytes]], fields: dict[str, Any]
) -> None:
    client, out = reply()
    out.relay(head(chunked=True, **fields), [], False, Dialect.CHAT)
    for chunks in reads:
        out.relay(None, chunks, False, Dialect.CHAT)
    out.relay(None, [], True, Dialect.CHAT)
    answers = Answers(client.sent)
    assert answers.bodies == [b"".join(b"".join(chunks) for chunks in reads)]
    assert answers.whole == [True]
