"""The judgement of a head; `test_connection` has the truth table, on real bytes."""

from __future__ import annotations

import pytest

from nanogpt_proxy.gateway.server.parser import RequestParser
from nanogpt_proxy.gateway.server.request import Request, head_too_large, no_upgrade


def parsed(text: bytes) -> Request:
    parser = RequestParser()
    parser.feed(text)
    return parser.queue[0]


@pytest.mark.parametrize(
    "host",
    [
        b"proxy",
        b"proxy:3000",
        b"127.0.0.1:3000",
        b"[::1]:3000",
        b"nano_gpt.example",
        b"xn--bcher-kva.example",
        b"a%20b",
        b" proxy ",
    ],
)
def test_hosts_are_names_with_an_optional_port(host: bytes) -> None:
    assert parsed(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host).refusal is None


@pytest.mark.parametrize("host", [b"a/b", b"a b", b"u@a", b"a,b", b"a\\b", b"\xe9", b"a?b", b"a#b"])
def test_other_hosts_are_refused(host: bytes) -> None:
    refusal = parsed(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host).refusal
    assert refusal is not None and refusal.status == 400


@pytest.mark.parametrize(
    ("head", "expects"),
    [
        (b"HTTP/1.1\r\nExpect: 100-continue", True),
        (b"HTTP/1.1\r\nExpect: 100-Continue ", True),
        (b"HTTP/1.1\r\nX: y", False),
        (b"HTTP/1.0\r\nExpect: 100-continue", False),
    ],
)
def test_it_knows_who_waits_for_a_sign_to_go_on(head: bytes, expects: bool) -> None:
    request = parsed(b"POST / %b\r\nHost: a\r\nContent-Length: 5\r\n\r\n" % head)
    assert (request.refusal, request.expects_continue) == (None, expects)


@pytest.mark.parametrize(
    ("lines", "length", "outstanding"),
    [
        (b"", None, 0),
        (b"Content-Length: 0\r\n", 0, 0),
        (b"Content-Length: 7\r\n", 7, 7),
        (b"Content-Length:   0007  \r\n", 7, 7),
        (b"Transfer-Encoding: Chunked\r\n", None, None),
    ],
)
def test_what_is_still_to_come(lines: bytes, length: int | None, outstanding: int | None) -> None:
    request = parsed(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    assert request.refusal is None
    assert (request.content_length, request.outstanding) == (length, outstanding)


@pytest.mark.parametrize(
    ("start", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_may_be_kept(start: bytes, kept: bool) -> None:
    assert parsed(start + b"\r\n").keep_alive is kept


def test_the_body_is_taken_once() -> None:
    request = parsed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert (request.take(), request.take(), request.received) == ([b"hello"], [], 5)


def test_the_first_fault_counts() -> None:
    request = Request(head_too_large())
    request.version = "0.9"
    request.judge()
    assert request.refusal is not None and request.refusal.status == 431


def test_the_refusal_of_an_upgrade_names_another_way() -> None:
    assert (no_upgrade().status, no_upgrade().code) == (404, "no_realtime")
    assert "/v1/chat/completions" in no_upgrade().message
