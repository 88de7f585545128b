"""The story of one request: where it may end, that it ends once, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import SealBroken, StoreUnavailable
from nanogpt_proxy.gateway import judge
from nanogpt_proxy.gateway.upstream import Failure
from nanogpt_proxy.models import Account
from tests.gateway.conftest import CLOSING, KEY, OPENING, Answers, Gateway, make_settings, turns

BODY = b'{"model":"m","stream":true}'
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"data: {}\n\n"
SOON = 0.01


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head_and_body(sent: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = sent.partition(b"\r\n\r\n")
    line, *headers = head.decode("latin-1").split("\r\n")
    fields = dict(header.split(": ", 1) for header in headers)
    assert len(fields) == len(headers)
    return line, fields, body


async def test_a_call_goes_up_with_the_users_own_key(gateway: Gateway) -> None:
    client = gateway.connect(
        gateway.call(
            BODY,
            start="POST /v1/chat/completions/?a=b",
            cookie="c",
            user_agent="sdk",
            x_provider="p",
            x_forwarded_for="1.2.3.4",
        )
    )
    line, fields, body = head_and_body(gateway.upstream.sent)
    assert (line, body) == ("POST /api/v1/chat/completions?a=b HTTP/1.1", BODY)
    assert fields["authorization"] == f"Bearer {KEY}"
    assert fields["content-length"] == str(len(BODY))
    assert fields["host"] == "nano.example:443"
    assert fields["x-provider"] == "p"
    assert not {"cookie", "x-forwarded-for", "x-openwebui-user-email"} & fields.keys()
    assert b"alice" not in gateway.upstream.sent
    gateway.upstream.feed(ANSWER)
    answers = Answers(client.sent)
    assert (answers.statuses, answers.bodies, answers.whole) == ([200], [b'{"a":1}'], [True])
    assert gateway.outcomes == [("chat/completions", 200, "complete")]
    assert gateway.people.uses == ["1" * 32]
    assert gateway.at_rest()
    assert gateway.pool.released == [gateway.upstream.connection]


async def test_the_log_line_tells_what_happened_and_nothing_else(gateway: Gateway) -> None:
    gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(ANSWER)
    (line,) = gateway.log.lines
    alice = gateway.people.known[gateway.EMAIL]
    assert alice is not None
    assert line["account"] == gateway.context.pseudonyms.logged(alice) != alice.id
    assert (line["method"], line["route"], line["status"]) == ("POST", "chat/completions", 200)
    assert (line["outcome"], line["received"]) == ("complete", len(BODY))
    assert line["sent"] > 7 and 0 <= line["first_byte_ms"] <= line["ms"]
    assert line["request_id"].startswith("npx-")
    assert not {gateway.EMAIL, KEY, gateway.TOKEN} & {str(value) for value in line.values()}


async def test_requests_of_one_client_are_served_one_after_the_other(gateway: Gateway) -> None:
    client = gateway.connect(gateway.call() * 3)
    for number in range(3):
        assert len(gateway.pool.wires) == number + 1
        gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [200] * 3
    assert not client.closed


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"start": "POST /v1/keys", "authorization": None}, 404, "unknown_path"),
    ({"start": "PUT /v1/chat/completions", "authorization": None}, 405, "method_not_allowed"),
    ({"authorization": None}, 401, "connection_token_missing"),
    ({"authorization": "Bearer wrong"}, 401, "connection_token_wrong"),
    (
        {"authorization": "Bearer wrong", "x_openwebui_user_email": None},
        401,
        "connection_token_wrong",
    ),
    ({"x_openwebui_user_email": None}, 401, "identity_missing"),
    ({"x_openwebui_user_email": "alice"}, 401, "identity_invalid"),
    ({"x_openwebui_user_email": "bob@example.com"}, 401, "key_not_enrolled"),
    ({"x_openwebui_user_email": "keyless@example.com"}, 401, "key_not_enrolled"),
    ({"x_openwebui_user_email": "off@example.com"}, 403, "user_disabled"),
    ({"content_type": "text/plain"}, 415, "unsupported_media_type"),
    ({"content_encoding": "gzip"}, 415, "unsupported_content_encoding"),
    ({"content_length": str(33 * 2**20)}, 413, "request_too_large"),
    ({"host": None}, 400, "invalid_request"),
    ({"expect": "the unexpected"}, 417, "expectation_failed"),
]


@pytest.mark.parametrize(
    ("changed", "status", "code"), REFUSED, ids=[f"{s} {c}" for _, s, c in REFUSED]
)
async def test_what_the_head_says_is_judged_before_the_body_comes(
    changed: dict[str, Any], status: int, code: str, gateway: Gateway
) -> None:
    gateway.people.known |= {
        "keyless@example.com": Account("2" * 32, "keyless@example.com", False, None),
        "off@example.com": Account("3" * 32, "off@example.com", True, None),
    }
    client = gateway.connect(gateway.head(**({"content_length": "1000"} | changed)))
    answers = Answers(client.sent)
    assert answers.statuses == [status]
    error = json.loads(answers.bodies[0])["error"]
    assert error["code"] == code
    assert error.keys() == {"message", "type", "param", "code"}
    assert answers.headers[0]["x-request-id"].startswith("npx-")
    assert gateway.pool.wires == []
    assert gateway.people.uses == []
    assert [line["outcome"] for line in gateway.log.lines] == [code]
    assert gateway.at_rest()


async def test_a_header_that_could_mean_two_users_is_refused(gateway: Gateway) -> None:
    double = gateway.call().replace(
        b"content-type", b"X-OpenWebUI_User-Email: bob@example.com\r\ncontent-type"
    )
    client = gateway.connect(double)
    assert Answers(client.sent).statuses == [400]
    assert gateway.pool.wires == []


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        ("POST /v1/messages", "authentication_error"),
        ("POST /v1/messages/count_tokens?a=b", "authentication_error"),
        ("POST /v1/messages/batches", "not_found_error"),
        ("GET /v1/messages", "invalid_request_error"),
    ],
)
async def test_errors_of_messages_are_in_anthropics_words(
    start: str, kind: str, gateway: Gateway
) -> None:
    client = gateway.connect(gateway.call(start=start, authorization=None))
    said = json.loads(Answers(client.sent).bodies[0])
    assert (said["type"], said["error"]["type"]) == ("error", kind)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1}{', b"\xff"])
async def test_a_body_that_is_no_object_does_not_go_up(body: bytes, gateway: Gateway) -> None:
    client = gateway.connect(gateway.call(body) + gateway.call())
    assert Answers(client.sent).statuses == [400]
    assert len(gateway.pool.wires) == 1, "the next one is served"
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [400, 200]


async def test_a_large_body_is_judged_in_turns_with_everything_else(gateway: Gateway) -> None:
    large = b'{"a":"' + b"x" * 1_500_000 + b'"}'
    good = gateway.connect(gateway.call(large))
    assert gateway.pool.wires == []
    bad = gateway.connect(gateway.call(large + b"x"))
    async with asyncio.timeout(5):
        while not (gateway.pool.wires and bad.sent):  # noqa: ASYNC110 - a transport has no event
            await asyncio.sleep(0)
    assert head_and_body(gateway.upstream.sent)[2] == large
    gateway.upstream.feed(ANSWER)
    assert Answers(good.sent).statuses == [200]
    assert Answers(bad.sent).statuses == [400]
    assert gateway.at_rest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_that_comes_in_pieces_goes_up_whole(framing: str, gateway: Gateway) -> None:
    body = b'{"a":"' + b"x" * 100_000 + b'"}'
    sent = gateway.call(body)
    if framing == "chunked":
        halves = chunk(body[:70_000]) + chunk(body[70_000:]) + b"0\r\n\r\n"
        sent = gateway.head(transfer_encoding="chunked") + halves
    gateway.connect(*[sent[at : at + 9999] for at in range(0, len(sent), 9999)])
    _, fields, arrived = head_and_body(gateway.upstream.sent)
    assert arrived == body
    assert fields["content-length"] == str(len(body))
    assert "transfer-encoding" not in fields


async def test_a_body_over_the_cap_is_refused_when_it_is_there() -> None:
    gateway = Gateway(make_settings(max_json_bytes=100_000))
    client = gateway.connect(gateway.head(transfer_encoding="chunked"))
    for _ in range(3):
        assert not client.sent
        client.feed(chunk(b"x" * 50_000))
    assert Answers(client.sent).statuses == [413]
    assert gateway.pool.wires == []
    assert gateway.at_rest()


async def test_who_asks_before_sending_is_told_to_go_on(gateway: Gateway) -> None:
    head = gateway.head(content_length=str(len(BODY)), expect="100-continue")
    client = gateway.connect(head)
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.feed(BODY)
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [200]
    impatient = gateway.connect(head + BODY)
    gateway.upstream.feed(ANSWER)
    assert Answers(impatient.sent).statuses == [200], "what is there needs no permission"
    stranger = gateway.connect(
        gateway.head(content_length="10", expect="100-continue", authorization=None)
    )
    assert Answers(stranger.sent).statuses == [401]


# Uploads.

UPLOAD = {
    "start": "POST /v1/audio/transcriptions",
    "content_type": "multipart/form-data; boundary=b",
}


def unchunked(body: bytes) -> bytes:
    """What the chunks hold, all of which are there."""
    data = b""
    while body != b"0\r\n\r\n":
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        data, body = data + body[:length], body[length + 2 :]
    return data


async def test_an_upload_that_is_no_form_is_refused(gateway: Gateway) -> None:
    small = gateway.connect(gateway.call(b"hello", **UPLOAD))
    assert Answers(small.sent).statuses == [400]
    assert gateway.pool.wires == []
    large = gateway.connect(gateway.head(**UPLOAD, transfer_encoding="chunked"), chunk(OPENING))
    large.feed(b"0\r\n\r\n")
    assert Answers(large.sent).statuses == [400]
    assert gateway.upstream.aborted and gateway.at_rest()


async def test_a_small_upload_keeps_a_length(gateway: Gateway) -> None:
    user = OPENING.replace(b"file", b"user") + b"alice\r\n"
    gateway.connect(gateway.call(user + OPENING + CLOSING, **UPLOAD))
    _, fields, body = head_and_body(gateway.upstream.sent)
    assert (body, fields["content-length"]) == (OPENING + CLOSING, str(len(body)))


async def test_an_upload_goes_up_as_it_comes(gateway: Gateway) -> None:
    sent = OPENING.replace(b'"\r', b'"; filename="Alice.mp3"\r') + b"x" * 90_000 + CLOSING
    client = gateway.connect(gateway.head(**UPLOAD, content_length=str(len(sent))))
    client.feed(sent[:60_000])
    _, fields, body = head_and_body(gateway.upstream.sent)
    assert fields["transfer-encoding"] == "chunked" and len(body) > 59_000
    client.feed(sent[60_000:])
    body = head_and_body(gateway.upstream.sent)[2]
    assert unchunked(body) == sent.replace(b"Alice", b"file")
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [200]
    assert gateway.pool.released == [gateway.upstream.connection]
    assert gateway.at_rest()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_small_upload_goes_up_in_one_piece(chunked: bool, gateway: Gateway) -> None:
    body = OPENING + b"hello" + CLOSING
    if chunked:
        sent = gateway.head(**UPLOAD, transfer_encoding="chunked") + chunk(body) + b"0\r\n\r\n"
    else:
        sent = gateway.call(body, **UPLOAD)
    gateway.connect(sent)
    _, fields, arrived = head_and_body(gateway.upstream.sent)
    assert (arrived, fields["content-length"]) == (body, str(len(body)))
    gateway.upstream.feed(ANSWER)
    assert gateway.at_rest()


async def test_an_upload_of_unknown_length_is_framed_anew(gateway: Gateway) -> None:
    client = gateway.connect(gateway.head(**UPLOAD, transfer_encoding="chunked"))
    client.feed(b"%x;ext=1\r\n%b\r\n" % (len(OPENING), OPENING), b"5\r\nworld\r\n")
    client.feed(chunk(CLOSING), b"0\r\nCookie: c\r\n\r\n")
    _, fields, body = head_and_body(gateway.upstream.sent)
    assert fields["transfer-encoding"] == "chunked"
    assert body == chunk(OPENING) + chunk(b"w") + chunk(b"orld" + CLOSING) + b"0\r\n\r\n"


async def test_an_upload_waits_for_a_slow_nanogpt(gateway: Gateway) -> None:
    client = gateway.connect(gateway.head(**UPLOAD, content_length="100000"), OPENING)
    pauses = []
    gateway.upstream.protocol.pause_writing()
    pauses.append(client.paused)
    gateway.upstream.protocol.resume_writing()
    pauses.append(client.paused)
    assert pauses == [True, False]


async def test_an_upload_over_the_cap_breaks_off() -> None:
    gateway = Gateway(make_settings(max_upload_bytes=100_000))
    client = gateway.connect(gateway.head(**UPLOAD, transfer_encoding="chunked"))
    client.feed(chunk(OPENING))
    for _ in range(2):
        client.feed(chunk(b"x" * 50_000))
    assert Answers(client.sent).statuses == [413]
    assert gateway.upstream.aborted
    assert gateway.at_rest()


async def test_an_upload_is_not_read_while_there_is_nowhere_to_send_it(gateway: Gateway) -> None:
    gateway.pool.ready = False
    sent = OPENING + b"x" * 100_000 + CLOSING
    client = gateway.connect(gateway.head(**UPLOAD, content_length=str(len(sent))), sent[:1000])
    paused = client.paused
    gateway.pool.hand_out()
    assert (paused, client.paused) == (True, False)
    client.feed(sent[1000:])
    assert unchunked(head_and_body(gateway.upstream.sent)[2]) == sent


async def test_an_answer_before_the_end_of_an_upload_is_passed_on(gateway: Gateway) -> None:
    client = gateway.connect(gateway.head(**UPLOAD, content_length="500000"), OPENING)
    gateway.upstream.feed(ANSWER.replace(b"200 OK", b"402 No"))
    answers = Answers(client.sent)
    assert (answers.statuses, answers.headers[0]["connection"]) == ([402], "close")
    assert gateway.upstream.closed, "the rest of the upload would meet the next answer"
    assert gateway.pool.released == []
    assert client.eof and gateway.at_rest()


# Room for bodies.


def narrow(**changed: Any) -> Gateway:
    return Gateway(make_settings(max_json_bytes=100_000, max_buffered_bytes=100_000, **changed))


async def test_a_body_waits_unread_until_there_is_room() -> None:
    gateway = narrow()
    body = b'{"a":"' + b"x" * 70_000 + b'"}'
    first, second = gateway.connect(), gateway.connect()
    sent = gateway.call(body)
    first.feed(sent[:50_000])
    second.feed(sent[:50_000])
    waited = second.paused
    first.feed(sent[50_000:])
    gateway.upstream.feed(ANSWER)
    assert (waited, second.paused) == (True, False)
    second.feed(sent[50_000:])
    assert head_and_body(gateway.upstream.sent)[2] == body
    gateway.upstream.feed(ANSWER)
    assert Answers(second.sent).statuses == [200]
    assert gateway.at_rest()


async def test_who_leaves_while_waiting_for_room_makes_way() -> None:
    gateway = narrow()
    half = gateway.call(b"x" * 70_000)[:50_000]
    clients = [gateway.connect(half) for _ in range(3)]
    clients[1].end()
    clients[0].end()
    await turns()
    assert not clients[2].paused
    clients[2].end()
    assert gateway.at_rest()


async def test_nobody_waits_for_room_for_ever() -> None:
    gateway = narrow(body_timeout=SOON)
    assert gateway.budget.take(object(), 60_000, lambda: None)
    client = gateway.connect(gateway.call(b"x" * 70_000)[:50_000])
    await timeout(client)
    assert Answers(client.sent).statuses == [503]
    assert Answers(client.sent).headers[0]["retry-after"] == "5"
    gateway.budget.give(60_000)
    assert gateway.at_rest()


async def test_a_body_where_none_belongs_takes_nobodys_room() -> None:
    gateway = narrow()
    claim = gateway.head("GET /v1/responses/r", content_length=str(10**9))
    gateway.connect(claim, b"x")
    body = b'{"a":"' + b"x" * 70_000 + b'"}'
    sent = gateway.call(body)
    gateway.connect(sent[:50_000], sent[50_000:])
    assert gateway.upstream.sent.endswith(body), "somebody else's call goes up all the same"


async def test_a_body_where_none_belongs_does_not_go_up(gateway: Gateway) -> None:
    gateway.connect(gateway.call(b"hello", start="GET /v1/responses/r", content_type=None))
    line, fields, body = head_and_body(gateway.upstream.sent)
    assert (line, body) == ("GET /api/v1/responses/r HTTP/1.1", b"")
    assert "content-length" not in fields


# Accounts that must be asked for.


async def test_an_account_that_is_not_in_memory_is_loaded(gateway: Gateway) -> None:
    gateway.people.slow.add(gateway.EMAIL)
    client = gateway.connect(gateway.call(BODY))
    await turns()
    assert gateway.pool.wires == []
    gateway.people.loads[0].set_result(None)
    await turns()
    assert head_and_body(gateway.upstream.sent)[2] == BODY
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [200]


async def test_what_comes_while_it_is_loaded_is_held_back(gateway: Gateway) -> None:
    gateway.people.slow.add(gateway.EMAIL)
    body = b'{"a":"' + b"x" * 70_000 + b'"}'
    client = gateway.connect(gateway.call(body)[:1000], gateway.call(body)[1000:2000])
    paused = client.paused
    await turns()
    gateway.people.loads[0].set_result(None)
    await turns()
    assert (paused, client.paused) == (True, False)
    client.feed(gateway.call(body)[2000:])
    assert head_and_body(gateway.upstream.sent)[2] == body


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailable("the database is locked"), 503, "store_unavailable"),
        (SealBroken("altered"), 500, "key_unreadable"),
        (RuntimeError("a secret inside"), 500, "internal_error"),
    ],
)
async def test_a_directory_that_fails_is_told_in_one_sentence(
    error: Exception, status: int, code: str, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.people.slow.add(gateway.EMAIL)
    client = gateway.connect(gateway.call(BODY))
    await turns()
    gateway.people.loads[0].set_exception(error)
    await turns()
    answers = Answers(client.sent)
    assert (answers.statuses, json.loads(answers.bodies[0])["error"]["code"]) == ([status], code)
    assert str(error) not in client.sent.decode()
    assert gateway.at_rest()
    assert (code != "internal_error") or "a secret inside" in caplog.text


# Endings that nobody wished for.


def to_load(gateway: Gateway) -> None:
    gateway.people.slow.add(gateway.EMAIL)


def to_queue(gateway: Gateway) -> None:
    gateway.pool.ready = False


LARGE = b'{"a":"' + b"x" * 1_500_000 + b'"}'
STAGES: dict[str, tuple[Callable[[Gateway], None] | None, bytes, bytes]] = {
    "account": (to_load, BODY, b""),
    "queue": (to_queue, BODY, b""),
    "judge": (None, LARGE, b""),
    "thinking": (None, BODY, b""),
    "half a head": (None, BODY, SSE[:30]),
    "streaming": (None, BODY, SSE + chunk(EVENT)),
    "half a chunk": (None, BODY, SSE + b"100\r\ndata"),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_leaves_takes_everything_with_it(
    stage: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_TURN", 0)
    prepare, body, answered = STAGES[stage]
    if prepare is not None:
        prepare(gateway)
    client = gateway.connect(gateway.call(body))
    if answered:
        gateway.upstream.feed(answered)
    await turns(3)
    client.end()
    assert all(wire.aborted for wire in gateway.pool.wires), "at once"
    assert [outcome for _, _, outcome in gateway.outcomes] == ["client_gone"]
    assert gateway.at_rest()
    for load in gateway.people.loads:
        if not load.done():
            load.set_result(None)
    await turns()
    assert len(gateway.outcomes) == 1
    assert len(gateway.pool.wires) == (0 if stage in ("account", "queue", "judge") else 1)


@pytest.mark.parametrize("stage", ["account", "judge", "list"])
async def test_one_that_leaves_in_the_same_turn_leaves_no_warning_behind(
    stage: str, gateway: Gateway
) -> None:
    sent = gateway.head("GET /v1/models")
    if stage != "list":
        prepare, body, _ = STAGES[stage]
        sent = gateway.call(body)
        if prepare is not None:
            prepare(gateway)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gateway.connect(sent).end()
        await turns()
        gateway.exchanges.clear()
        gc.collect()
    assert [outcome for _, _, outcome in gateway.outcomes] == ["client_gone"]
    assert [str(warning.message) for warning in said] == []


async def test_a_connection_that_ends_before_the_call_has_left_is_replaced(
    gateway: Gateway,
) -> None:
    client = gateway.connect(gateway.call(BODY))
    first = gateway.upstream
    first.protocol.data_received(ANSWER.replace(b"a", b"x"))  # somebody's stray answer
    assert first.closed and first.sent == b""
    assert gateway.upstream is not first
    assert head_and_body(gateway.upstream.sent)[2] == BODY
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).bodies == [b'{"a":1}']
    assert gateway.outcomes == [("chat/completions", 200, "complete")]
    assert gateway.at_rest()


async def test_a_fault_of_ours_is_told_and_logged(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Account) -> None:
        raise RuntimeError("a secret inside")

    monkeypatch.setattr(gateway.tickets, "admit", fail)
    client = gateway.connect(gateway.call(BODY))
    answers = Answers(client.sent)
    assert (answers.statuses, "x-should-retry" in answers.headers[0]) == ([500], False)
    assert b"secret" not in client.sent and "a secret inside" in caplog.text
    assert gateway.at_rest()


async def test_nobody_there_may_be_tried_again(gateway: Gateway) -> None:
    gateway.pool.ready = False
    client = gateway.connect(gateway.call(BODY))
    gateway.pool.waiting.pop().upstream_failed(Failure.CONNECT)
    answers = Answers(client.sent)
    assert (answers.statuses, gateway.people.uses) == ([502], [])
    assert "x-should-retry" not in answers.headers[0]
    assert gateway.outcomes == [("chat/completions", 502, "upstream_unreachable")]
    assert not client.closed


@pytest.mark.parametrize(
    ("answered", "code"),
    [
        (b"", "upstream_disconnected"),
        (ANSWER[:30], "upstream_disconnected"),
        (b"garbage", "upstream_invalid"),
    ],
)
async def test_a_call_that_may_have_been_charged_is_not_to_be_repeated(
    answered: bytes, code: str, gateway: Gateway
) -> None:
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(answered)
    gateway.upstream.end()
    answers = Answers(client.sent)
    assert (answers.statuses, answers.headers[0]["x-should-retry"]) == ([502], "false")
    assert gateway.outcomes == [("chat/completions", 502, code)]
    assert gateway.people.uses == ["1" * 32]
    assert not client.closed and gateway.at_rest()


async def test_a_stream_that_breaks_ends_with_an_error_and_the_connection_goes_on(
    gateway: Gateway,
) -> None:
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT) + chunk(b'data: {"hal'))
    gateway.upstream.end()
    answers = Answers(client.sent)
    events = answers.bodies[0].decode().split("\n\n")
    assert events[:2] == ["data: {}", 'data: {"hal']
    assert json.loads(events[2].removeprefix("data: "))["error"]["code"] == "upstream_disconnected"
    assert events[3:] == ["data: [DONE]", ""]
    assert answers.whole == [True]
    assert gateway.outcomes == [("chat/completions", 200, "upstream_disconnected")]
    client.take()
    client.feed(gateway.call(BODY))
    gateway.upstream.feed(ANSWER)
    assert Answers(client.sent).statuses == [200]


async def test_anything_else_that_breaks_is_cut(gateway: Gateway) -> None:
    for start, hard in (
        (ANSWER[:-2], False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"ab"), False),
    ):
        client = gateway.connect(gateway.call(BODY))
        gateway.upstream.feed(start)
        gateway.upstream.end()
        assert client.closed and client.aborted is hard
        assert Answers(client.sent).whole == [False]
    assert {outcome for _, _, outcome in gateway.outcomes} == {"upstream_disconnected"}
    assert gateway.at_rest()


async def test_an_answer_until_close_that_breaks_for_an_old_client_is_reset(
    gateway: Gateway,
) -> None:
    client = gateway.connect(gateway.call(BODY, version="1.0"))
    gateway.upstream.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"ab"))
    assert client.sent.endswith(b"ab")
    gateway.upstream.feed(b"zz\r\n")
    assert client.aborted, "a clean end would be the end of the answer"


@pytest.mark.parametrize(
    ("ending", "outcome"), [(b"data: [DONE]\n\n", "complete"), (b"", "incomplete")]
)
async def test_a_clean_end_passes_as_it_is_and_is_counted(
    ending: bytes, outcome: str, gateway: Gateway
) -> None:
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE, chunk(EVENT + ending), b"0\r\n\r\n")
    assert Answers(client.sent).bodies == [EVENT + ending]
    assert gateway.outcomes == [("chat/completions", 200, outcome)]


async def timeout(*wires: Any) -> None:
    async with asyncio.timeout(5):
        for wire in wires:
            while not (wire.sent or wire.closed):  # noqa: ASYNC110 - a transport has no event
                await asyncio.sleep(0.002)


async def test_a_model_that_never_begins_times_out() -> None:
    gateway = Gateway(make_settings(first_byte_timeout=SOON))
    client = gateway.connect(gateway.call(BODY))
    await timeout(client)
    answers = Answers(client.sent)
    assert (answers.statuses, answers.headers[0]["x-should-retry"]) == ([504], "false")
    assert gateway.upstream.aborted and gateway.at_rest()
    gateway.pool.ready = False
    queued = gateway.connect(gateway.call(BODY))
    await timeout(queued)
    assert Answers(queued.sent).statuses == [504]
    assert "x-should-retry" not in Answers(queued.sent).headers[0]
    assert gateway.at_rest()


async def test_a_stream_that_falls_silent_times_out() -> None:
    gateway = Gateway(make_settings(stream_idle_timeout=SOON))
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT))
    client.take()
    await timeout(client)
    assert b"upstream_timeout" in client.sent
    assert client.sent.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.upstream.aborted and gateway.at_rest()


async def test_a_client_that_never_reads_on_is_left() -> None:
    gateway = Gateway(make_settings(stream_idle_timeout=SOON))
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT))
    client.take()
    client.protocol.pause_writing()
    await timeout(client)
    assert client.aborted
    assert b"upstream_timeout" not in client.sent  # NanoGPT is not to blame
    assert gateway.upstream.aborted and gateway.at_rest()


async def test_a_body_that_stops_coming_times_out() -> None:
    gateway = Gateway(make_settings(body_timeout=SOON))
    json_call = gateway.connect(gateway.call(BODY)[:-1])
    upload = gateway.connect(gateway.head(**UPLOAD, content_length="1000"), OPENING)
    await timeout(json_call, upload)
    for client in (json_call, upload):
        answers = Answers(client.sent)
        assert (answers.statuses, answers.headers[0]["connection"]) == ([408], "close")
    assert gateway.upstream.aborted and gateway.at_rest()


async def test_a_body_that_breaks_is_refused(gateway: Gateway) -> None:
    upload = gateway.connect(gateway.head(**UPLOAD, transfer_encoding="chunked"), chunk(OPENING))
    held = gateway.connect(gateway.head(transfer_encoding="chunked"), chunk(b"{"))
    for client in (upload, held):
        client.feed(b"zz\r\n")
        assert Answers(client.sent).statuses == [400]
    assert gateway.upstream.aborted and gateway.at_rest()


async def test_the_end_of_the_process_is_told(gateway: Gateway) -> None:
    waiting = gateway.connect(gateway.call(BODY))
    streaming = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT))
    for exchange in gateway.exchanges:
        exchange.shut_down()
    assert Answers(waiting.sent).statuses == [503]
    assert b"shutting_down" in streaming.sent
    assert streaming.sent.endswith(b"0\r\n\r\n")
    assert all(wire.aborted for wire in gateway.pool.wires) and gateway.at_rest()


async def test_an_answer_that_ends_while_the_process_stops_is_sent_to_its_end(
    gateway: Gateway,
) -> None:
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT))
    gateway.server.draining = True
    gateway.upstream.feed(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    assert client.closed
    assert Answers(client.sent).whole == [True]


async def test_a_slow_client_slows_nanogpt_down(gateway: Gateway) -> None:
    client = gateway.connect(gateway.call(BODY))
    gateway.upstream.feed(SSE + chunk(EVENT))
    pauses = []
    client.protocol.pause_writing()
    pauses.append(gateway.upstream.paused)
    client.protocol.resume_writing()
    pauses.append(gateway.upstream.paused)
    assert pauses == [True, False]
    gateway.upstream.feed(b"0\r\n\r\n")
    client.protocol.pause_writing()
    client.protocol.resume_writing()
    assert gateway.at_rest()


# Answers of our own.


async def test_lists_need_the_token_and_no_user(gateway: Gateway) -> None:
    changed: dict[str, Any] = {"x_openwebui_user_email": None, "content_type": None}
    client = gateway.connect(gateway.head("GET /v1/models?detailed=true", **changed))
    head = gateway.connect(gateway.head("HEAD /v1/models", **changed))
    model = gateway.connect(gateway.head("GET /v1/models/a%2Fb", **changed))
    stranger = gateway.connect(gateway.head("GET /v1/models", authorization=None))
    await turns()
    assert Answers(client.sent).bodies == [b'{"data":[]}']
    assert b"content-length: 11\r\n" in head.sent and head.sent.endswith(b"\r\n\r\n")
    assert Answers(model.sent).bodies == [b'{"id":"m"}']
    assert Answers(stranger.sent).statuses == [401]
    assert gateway.lists.asked == [
        (b"/models", b"detailed=true"),
        (b"/models", b""),
        ("a/b", b""),
    ]
    assert (gateway.tickets.admitted, gateway.people.uses) == (0, [])


async def test_health_needs_no_token_and_is_not_logged(gateway: Gateway) -> None:
    plain: dict[str, Any] = {"authorization": None, "x_openwebui_user_email": None}
    live = gateway.connect(gateway.head("GET /health/live", **plain))
    ready = gateway.connect(gateway.head("GET /health/ready", **plain))
    gateway.lists.troubles = ["the store does not answer"]
    await turns()
    unready = gateway.connect(gateway.head("GET /health/ready", **plain))
    await turns()
    assert Answers(live.sent).statuses == [200]
    assert json.loads(Answers(unready.sent).bodies[0])["problems"] == gateway.lists.troubles
    assert Answers(unready.sent).statuses == [503]
    assert Answers(ready.sent).statuses in ([200], [503])
    assert gateway.log.lines == []


# What may cross the border, on real bytes.

UP = {
    *("accept", "content-type", "x-provider", "x-billing-mode", "x-use-byok", "x-byok-provider"),
    *("memory", "memory_expiration_days", "moderation", "moderation-model", "redaction"),
    *("redacted", "piiredaction", "piiredacted", "anthropic-beta", "anthropic-version"),
    *("x-prompt-caching-cut-after", "x-team-id", "x-encryption-key", "x-encryption-passphrase"),
    *("idempotency-key", "authorization", "accept-encoding", "user-agent"),
    *("host", "content-length"),
}
NOT_DOWN = {"set-cookie", "connection", "keep-alive", "upgrade", "te", "trailer", "alt-svc", "via"}
names = st.sampled_from(
    [
        *("X-Provider", "X_Provider", "Cookie", "Authorization", "X-Api-Key", "X_API_KEY"),
        *("X-OpenWebUI-User-Email", "X-Forwarded-For", "Origin", "Referer", "Via", "TE"),
        *("Connection", "Keep-Alive", "Trailer", "Set-Cookie", "Alt-Svc", "X-Request-ID"),
        *("Content-Type", "Content_Length", "Transfer_Encoding", "Memory-Expiration-Days"),
    ]
) | st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12)
lines = st.lists(
    st.tuples(names.map(str.encode), st.binary(max_size=20)).map(b": ".join), max_size=8
).map(lambda parts: b"".join(part + b"\r\n" for part in parts))


@given(lines, lines)
def test_no_header_outside_the_lists_crosses_the_border(up: bytes, down: bytes) -> None:
    async def cross() -> None:
        gateway = Gateway(make_settings())
        sent = gateway.call(BODY)
        client = gateway.connect(sent.replace(b"\r\n", b"\r\n" + up, 1))
        if not gateway.pool.wires:
            assert Answers(client.sent).statuses[0] >= 400
            return
        went_up = gateway.upstream.sent
        assert went_up.endswith(b"\r\n\r\n" + BODY)
        _, fields, _ = head_and_body(went_up)
        assert fields.keys() <= UP
        assert fields["authorization"] == f"Bearer {KEY}"
        gateway.upstream.feed(ANSWER.replace(b"\r\n", b"\r\n" + down, 1))
        gateway.upstream.end()
        answer = Answers(client.sent, repeated=True)
        assert answer.statuses in ([200], [502])
        assert not answer.headers[0].keys() & NOT_DOWN

    asyncio.run(cross())
