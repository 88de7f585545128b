"""Answers in NanoGPT's place: which one, what it says, and what an SDK does next."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal, SealBroken, StoreUnavailable, WrongMasterKey
from nanogpt_proxy.gateway import refusals
from nanogpt_proxy.gateway.refusals import judge_body, translated
from nanogpt_proxy.gateway.routes import Body
from nanogpt_proxy.gateway.server import Request
from nanogpt_proxy.gateway.upstream import Failure
from tests.gateway.conftest import make_settings

SETTINGS = make_settings(max_json_bytes=1000, max_upload_bytes=5000)
FORM = "multipart/form-data; boundary=x"


def judge(
    allowed: Body, content_type: str | None, length: int | None = 10, coding: str | None = None
) -> Body:
    request = Request()
    request.content_length = length
    fields = {"content-type": content_type, "content-encoding": coding}
    request.fields = {
        name.encode(): value.encode() for name, value in fields.items() if value is not None
    }
    return judge_body(allowed, request, SETTINGS)


def refused(*args: Any) -> int:
    with pytest.raises(Refusal) as caught:
        judge(*args)
    return caught.value.status


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=utf8",
        "application/json; profile=x",
    ],
)
def test_json_is_taken_on_both_kinds_of_routes(content_type: str) -> None:
    assert judge(Body.JSON, content_type) is Body.JSON
    assert judge(Body.UPLOAD, content_type) is Body.JSON


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "multipart/form-data",
        "*/*",
    ],
)
def test_anything_else_is_not(content_type: str | None) -> None:
    assert refused(Body.JSON, content_type) == 415
    assert refused(Body.UPLOAD, content_type) == 415


@pytest.mark.parametrize("content_type", [FORM, "Multipart/Form-Data;Boundary=x", FORM + "; a=b"])
def test_a_form_is_taken_where_files_are(content_type: str) -> None:
    assert judge(Body.UPLOAD, content_type) is Body.UPLOAD
    assert refused(Body.JSON, content_type) == 415


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x-gzip", "identity, gzip"])
def test_compressed_bodies_are_not_taken(coding: str) -> None:
    assert refused(Body.JSON, "application/json", 10, coding) == 415
    assert refused(Body.UPLOAD, FORM, 10, coding) == 415
    assert judge(Body.JSON, "application/json", 10, "Identity") is Body.JSON


@pytest.mark.parametrize(
    ("allowed", "content_type", "most"),
    [
        (Body.JSON, "application/json", 1000),
        (Body.UPLOAD, "application/json", 1000),
        (Body.UPLOAD, FORM, 5000),
    ],
)
def test_what_says_that_it_is_too_large_is_refused(
    allowed: Body, content_type: str, most: int
) -> None:
    assert isinstance(judge(allowed, content_type, most), Body)
    assert isinstance(judge(allowed, content_type, None), Body), "not known yet"
    assert refused(allowed, content_type, most + 1) == 413


def test_where_no_body_belongs_its_type_does_not_matter() -> None:
    assert judge(Body.NONE, "text/plain", 10, "gzip") is Body.NONE
    assert judge(Body.NONE, None, None) is Body.NONE


EACH: list[tuple[Callable[[], Refusal], int, str]] = [
    (lambda: refusals.too_large(1000), 413, "request_too_large"),
    (refusals.key_not_enrolled, 401, "key_not_enrolled"),
    (refusals.user_disabled, 403, "user_disabled"),
    (refusals.key_rejected, 401, "key_rejected"),
    (refusals.identity_changed, 403, "identity_changed"),
    (refusals.body_timeout, 408, "request_timeout"),
    (refusals.overloaded, 503, "overloaded"),
    (refusals.store_unavailable, 503, "store_unavailable"),
    (refusals.key_unreadable, 500, "key_unreadable"),
    (lambda: refusals.internal_error(sent=False), 500, "internal_error"),
    (lambda: refusals.internal_error(sent=True), 500, "internal_error"),
    (lambda: refusals.unreachable(Failure.CONNECT), 502, "upstream_unreachable"),
    (lambda: refusals.unreachable(Failure.CONNECT_TIMEOUT), 502, "upstream_unreachable"),
    (lambda: refusals.broken(Failure.CLOSED), 502, "upstream_disconnected"),
    (lambda: refusals.broken(Failure.GARBLED), 502, "upstream_invalid"),
    (lambda: refusals.no_answer_in_time(sent=False), 504, "upstream_timeout"),
    (lambda: refusals.no_answer_in_time(sent=True), 504, "upstream_timeout"),
    (refusals.stream_idle, 504, "upstream_timeout"),
    (refusals.shutting_down, 503, "shutting_down"),
]


@pytest.mark.parametrize(("make", "status", "code"), EACH)
def test_each_is_one_sentence_with_a_stable_code(
    make: Callable[[], Refusal], status: int, code: str
) -> None:
    refusal = make()
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.message[0].isupper() and refusal.message.endswith(".")
    assert "\n" not in refusal.message and ". " not in refusal.message
    assert refusal.kind
    assert all(name == name.lower() for name, _ in refusal.headers)
    assert (status != 503) or dict(refusal.headers)["retry-after"].isdigit()


def test_every_refusal_is_tried_here() -> None:
    made = {
        name
        for name, function in inspect.getmembers(refusals)
        if not name.startswith("_") and getattr(function, "__module__", "") == refusals.__name__
    }
    tried = {name for make, _, _ in EACH for name in (make.__name__, *make.__code__.co_names)}
    assert made - {"judge_body", "translated"} <= tried


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (refusals.broken(Failure.CLOSED), True),
        (refusals.broken(Failure.GARBLED), True),
        (refusals.no_answer_in_time(sent=True), True),
        (refusals.internal_error(sent=True), True),
        (refusals.stream_idle(), True),
        (refusals.no_answer_in_time(sent=False), False),
        (refusals.internal_error(sent=False), False),
        (refusals.unreachable(Failure.CONNECT), False),
        (refusals.unreachable(Failure.CONNECT_TIMEOUT), False),
        (refusals.store_unavailable(), False),
        (refusals.overloaded(), False),
    ],
)
def test_sdks_are_kept_from_paying_twice(refusal: Refusal, told: bool) -> None:
    assert (("x-should-retry", "false") in refusal.headers) is told


async def _raise(error: Exception) -> None:
    raise error


async def test_failures_of_store_and_vault_are_translated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> int:
        return 7

    assert await translated(work()) == 7
    with pytest.raises(Refusal) as caught:
        await translated(_raise(StoreUnavailable("locked")))
    assert caught.value.code == "store_unavailable"
    for error in (SealBroken("altered"), WrongMasterKey("other")):
        with pytest.raises(Refusal) as caught:
            await translated(_raise(error))
        assert caught.value.code == "key_unreadable"
    assert len(caplog.records) == 2
    with pytest.raises(Refusal) as caught:
        await translated(_raise(refusals.user_disabled()))
    assert caught.value.code == "user_disabled"
    with pytest.raises(ZeroDivisionError):
        await translated(_raise(ZeroDivisionError()))
