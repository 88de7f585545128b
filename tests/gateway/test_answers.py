"""Answers of our own: envelopes that the SDKs know, and heads."""

from __future__ import annotations

import email.utils
import json
import time

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import answers
from nanogpt_proxy.gateway.answers import (
    anthropic_error,
    compact,
    date_line,
    envelope,
    header_lines,
    openai_error,
    status_line,
)
from nanogpt_proxy.gateway.routes import Dialect


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (404, b"HTTP/1.1 404 Not Found\r\n"),
        (418, b"HTTP/1.1 418 I'm a Teapot\r\n"),
        (503, b"HTTP/1.1 503 Service Unavailable\r\n"),
        (529, b"HTTP/1.1 529 \r\n"),
        (999, b"HTTP/1.1 999 \r\n"),
    ],
)
def test_status_lines_end_with_a_reason_even_if_empty(status: int, line: bytes) -> None:
    assert status_line(status) == line


def test_header_lines_are_written_in_their_order() -> None:
    assert header_lines([(b"b", b"1"), (b"a", b""), (b"b", b"2")]) == b"b: 1\r\na: \r\nb: 2\r\n"
    assert header_lines([]) == b""


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_795_464_000.9)
    first = date_line()
    assert first == b"date: Mon, 23 Nov 2026 20:00:00 GMT\r\n"
    assert date_line() is first
    monkeypatch.setattr(time, "time", lambda: 1_795_464_001.0)
    assert date_line() == b"date: Mon, 23 Nov 2026 20:00:01 GMT\r\n"


def test_the_date_is_now() -> None:
    text = date_line().decode().removeprefix("date: ").strip()
    said = email.utils.parsedate_to_datetime(text).timestamp()
    assert abs(said - time.time()) < 5


def test_openais_shape_names_all_four_members() -> None:
    refusal = Refusal(403, "user_disabled", "Off.", kind="permission_error")
    assert openai_error(refusal) == {
        "error": {
            "message": "Off.",
            "type": "permission_error",
            "param": None,
            "code": "user_disabled",
        }
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "invalid_request_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (417, "invalid_request_error"),
        (429, "rate_limit_error"),
        (431, "invalid_request_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_anthropics_shape_has_its_own_kinds(status: int, kind: str) -> None:
    said = anthropic_error(Refusal(status, "a_code", "Why."))
    assert said == {"type": "error", "error": {"type": kind, "message": "Why.", "code": "a_code"}}


@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_envelope_is_the_routes_own(dialect: Dialect) -> None:
    refusal = Refusal(401, "key_not_enrolled", "Ask.")
    anthropic = dialect is Dialect.MESSAGES
    expected = anthropic_error(refusal) if anthropic else openai_error(refusal)
    assert json.loads(envelope(refusal, dialect)) == expected


def test_json_of_ours_is_one_line_whatever_is_in_it() -> None:
    value = {"a": "é\n\r\u2028", "b": [1, None], "\x00": 1.5}
    assert json.loads(compact(value)) == value
    assert not {*b"\r\n"} & {*compact(value)}
    assert compact({"a": 1, "b": 2}) == b'{"a":1,"b":2}'
    assert answers.compact([]) == b"[]"
