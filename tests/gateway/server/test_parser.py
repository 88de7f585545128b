"""Bytes become requests of a queue; `test_connection` tries what the parser makes of bad ones."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.server.parser import PIPELINED, RequestParser

HEAD = b"POST /v1/images HTTP/1.1\r\nHost: a\r\n"


def parser(*pieces: bytes) -> RequestParser:
    parser = RequestParser()
    for piece in pieces:
        parser.feed(piece)
    return parser


def test_a_request_is_announced_before_it_is_complete() -> None:
    requests = parser(HEAD)
    (request,) = requests.queue
    assert (request.head_done, request.complete) == (False, False)
    requests.feed(b"Content-Length: 5\r\n\r\nhe")
    assert (request.method, request.target, request.version) == (b"POST", b"/v1/images", "1.1")
    assert (request.head_done, request.complete, request.outstanding) == (True, False, 3)
    requests.feed(b"llo")
    assert (request.complete, request.outstanding, request.take()) == (True, 0, [b"he", b"llo"])


def test_a_body_that_nobody_wants_is_counted_and_not_kept() -> None:
    requests = parser(HEAD + b"Content-Length: 5\r\n\r\nhe")
    (request,) = requests.queue
    request.dropped = True
    request.chunks.clear()
    requests.feed(b"llo")
    assert (request.received, request.chunks, request.complete) == (5, [], True)


def test_trailers_are_dropped() -> None:
    requests = parser(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n")
    (request,) = requests.queue
    assert [name for name, _ in request.headers] == [b"Host", b"Transfer-Encoding"]
    requests.feed(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
    assert [name for name, _ in requests.queue[1].headers] == [b"Host", b"X"]


def test_no_more_than_so_many_requests_are_queued() -> None:
    one = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    requests = parser(b"".join(one % number for number in range(PIPELINED + 5)))
    assert [request.target for request in requests.queue] == [
        b"/%d" % number for number in range(PIPELINED)
    ]
    assert all(request.complete for request in requests.queue)
    assert requests.deaf


def test_who_spoils_an_idle_connection_gets_an_answer_of_its_own() -> None:
    refusal = Refusal(408, "request_timeout", "Slow.")
    requests = parser(HEAD + b"Content-Length: 0\r\n\r\n")
    requests.spoil(refusal)
    good, bad = requests.queue
    assert (good.refusal, bad.refusal, requests.deaf) == (None, refusal, True)
    requests.spoil(Refusal(400, "other", "Once is enough."))
    assert len(requests.queue) == 2


def test_a_fault_in_a_body_falls_on_its_request() -> None:
    requests = parser(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
    (request,) = requests.queue
    assert request.refusal is not None and request.refusal.status == 400


@pytest.mark.parametrize("end", [b"Content-Length: 100000\r\n\r\n", b"X: "])
def test_what_is_held_is_counted(end: bytes) -> None:
    requests = parser(HEAD + end)
    before = requests.held()
    requests.feed(b"x" * 30_000)
    assert 30_000 <= requests.held() - before <= 60_000
