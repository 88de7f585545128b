"""What the client sees when NanoGPT breaks off: never a clean end of something incomplete."""

from __future__ import annotations

import json
import re

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, Proxy
from tests.functional.wire import Answer, Cut, Wire, events, head_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
PATHS = [CHAT, COMPLETIONS, MESSAGES, RESPONSES]
DONE = b"data: [DONE]"
HOWS = pytest.mark.parametrize("how", ["reset", "fin"])


def stream(line: Wire, path: str, scenario: str) -> Answer:
    body = json.dumps({"model": f"standin/{scenario}", "stream": True}).encode()
    return line.ask("POST", path, ALICE.headers(), body)


def ask_plain(line: Wire, scenario: str, path: str = CHAT, version: str = "1.1") -> None:
    body = json.dumps({"model": f"standin/{scenario}"}).encode()
    head = head_of("POST", path, ALICE.headers(("Content-Length", str(len(body)))))
    line.send(head.replace(b"HTTP/1.1", f"HTTP/{version}".encode()) + body)


def data_of(event: bytes) -> object:
    """The data of an event, whose lines before are `event:` at most."""
    *names, data = event.split(b"\n")
    assert len(names) <= 1
    assert data.startswith(b"data: ")
    return json.loads(data.removeprefix(b"data: "))


def check_ending(path: str, found: list[bytes], code: str = "upstream_disconnected") -> None:
    """The error comes last, in the route's own protocol."""
    if path == MESSAGES:
        assert DONE not in found
        said = data_of(found[-1])
        assert found[-1].startswith(b"event: error\n")
        assert isinstance(said, dict)
        assert said["type"] == "error"
        assert set(said["error"]) >= {"type", "message"}
        assert said["error"]["code"] == code
        return
    assert found[-1] == DONE
    assert found.count(DONE) == 1
    said = data_of(found[-2])
    assert isinstance(said, dict)
    if path == RESPONSES:
        assert found[-2].startswith(b"event: error\n")
        assert (said["type"], said["code"]) == ("error", code)
        assert said["message"]
    else:
        assert found[-2].startswith(b"data: ")
        assert set(said["error"]) == {"message", "type", "param", "code"}
        assert said["error"]["code"] == code


def errors_in(found: list[bytes]) -> int:
    """How many events say that something failed; `"error":null` does not."""
    return sum(b'"error":{' in event or b'"type":"error"' in event for event in found)


@HOWS
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_breaks_between_events_ends_with_an_error(
    gateway: Proxy, path: str, how: str
) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, f"abrupt:between:{how}")
        found = events(answer.body)
        check_ending(path, found)
        assert errors_in(found) == 1
        assert len(found) > 2  # what came before is there
        # HTTP is in order, so the connection goes on
        assert line.ask("GET", "/health/live").status == 200


@HOWS
@pytest.mark.parametrize("path", PATHS)
def test_an_event_that_was_cut_is_ended_first(gateway: Proxy, path: str, how: str) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, f"abrupt:event:{how}")
    found = events(answer.body)
    check_ending(path, found)
    if path == MESSAGES:
        # The last name of an event counts, and what is called a ping is not read any further.
        cut = found[-2].removesuffix(b"\nevent: ping")
        assert cut != found[-2]
    else:
        cut = found[-3]
    with pytest.raises(ValueError):
        data_of(cut)


@HOWS
def test_a_character_that_was_cut_spoils_no_error(gateway: Proxy, how: str) -> None:
    with gateway.connect() as line:
        answer = stream(line, CHAT, f"abrupt:utf8:{how}")
    found = events(answer.body)
    check_ending(CHAT, found)
    assert found[-3].endswith("日".encode()[:-1])


@HOWS
@pytest.mark.parametrize("path", PATHS)
def test_a_chunk_that_was_cut_is_passed_on_as_far_as_it_came(
    gateway: Proxy, path: str, how: str
) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, f"abrupt:chunk:{how}")
    found = events(answer.body)
    check_ending(path, found)
    assert found[0].startswith(b"data: {xxx")


@HOWS
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_breaks_after_its_head_ends_with_an_error(
    gateway: Proxy, path: str, how: str
) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, f"abrupt:head:{how}")
    assert answer.status == 200
    check_ending(path, events(answer.body))
    assert not answer.body.startswith(b"\n")


@pytest.mark.parametrize("path", PATHS)
def test_a_chunk_that_is_none_ends_the_stream_with_an_error(gateway: Proxy, path: str) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, "bad-chunk")
    found = events(answer.body)
    check_ending(path, found, "upstream_invalid")
    assert b"zz" not in answer.body
    assert len(found) > 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("which", ["all", "finish"])
def test_a_clean_end_without_the_last_word_passes_as_it_is(
    nano: StandIn, start: Start, path: str, which: str
) -> None:
    proxy = start()
    with proxy.connect() as line, Wire(nano.host, nano.port) as direct:
        answer = stream(line, path, f"eof:{which}")
        expected = straight(direct, path, f"eof:{which}")
    assert without_numbers(answer.body) == without_numbers(expected.body)
    assert DONE not in answer.body
    proxy.wait_said("status=200 outcome=incomplete")


def straight(direct: Wire, path: str, scenario: str) -> Answer:
    """What the stand-in says to the same call without a proxy between."""
    body = json.dumps({"model": f"standin/{scenario}", "stream": True}).encode()
    pairs = [("Authorization", f"Bearer {ALICE.key}"), ("Content-Type", "application/json")]
    head = head_of("POST", f"/api{path}", [*pairs, ("Content-Length", str(len(body)))])
    direct.send(head + body)
    raw = direct.until(b"\r\n\r\n")
    answer = Answer(int(raw.split(b" ")[1]), "", [("transfer-encoding", "chunked")])
    direct.body(answer)
    return answer


def without_numbers(body: bytes) -> bytes:
    """Ids that hold the number of the request made equal."""
    return re.sub(rb"standin_\d+", b"standin_N", body)


@pytest.mark.parametrize("path", PATHS)
def test_an_error_of_nanogpts_own_is_relayed_as_it_is(gateway: Proxy, path: str) -> None:
    with gateway.connect() as line:
        answer = stream(line, path, "error-frame:2")
    found = events(answer.body)
    assert errors_in(found) == 1
    assert b"Service temporarily unavailable" in answer.body
    assert found.count(DONE) == (0 if path == MESSAGES else 1)


@HOWS
def test_an_answer_of_known_length_is_cut_and_not_ended(gateway: Proxy, how: str) -> None:
    with gateway.connect() as line:
        ask_plain(line, f"abrupt:between:{how}")
        head = line.head()
        with pytest.raises(Cut) as caught:
            line.body(head)
    assert head.status == 200
    assert 0 < len(caught.value.rest) < int(head.get("content-length") or 0)


@pytest.mark.parametrize("kind", ["word", "size"])
def test_a_chunked_answer_is_cut_and_not_ended(gateway: Proxy, kind: str) -> None:
    with gateway.connect() as line:
        ask_plain(line, f"bad-chunk:{kind}")
        head = line.head()
        assert head.get("transfer-encoding") == "chunked"
        with pytest.raises(Cut):
            line.body(head)


def test_an_answer_that_ends_with_a_reset_connection_is_cut(gateway: Proxy) -> None:
    with gateway.connect() as line:
        ask_plain(line, "until-close:reset")
        head = line.head()
        with pytest.raises(Cut):
            line.body(head)


@HOWS
def test_an_old_client_sees_a_reset_where_an_end_would_mean_all_is_well(
    gateway: Proxy, how: str
) -> None:
    with gateway.connect() as line:
        ask_plain(line, "bad-chunk", version="1.0")
        head = line.head()
        assert head.get("transfer-encoding") is None
        with pytest.raises(Cut) as caught:
            line.body(head)
    assert caught.value.how == "reset"


@HOWS
def test_no_answer_at_all_is_a_bad_gateway_that_no_sdk_repeats(
    nano: StandIn, gateway: Proxy, how: str
) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask_plain(line, f"die-before-head:0:{how}")
        answer = line.answer()
        assert (answer.status, answer.code) == (502, "upstream_disconnected")
        assert answer.get("x-should-retry") == "false"
        assert line.ask("GET", "/health/live").status == 200
    assert len(nano.requests(since)) == 1


BAD_HEADS = [
    "garbage", "status", "two-lengths", "both", "negative", "name", "nul", "fold", "bare-lf",
    "gzip-te", "huge", "version",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD_HEADS)
def test_a_head_that_cannot_be_believed_is_a_bad_gateway(
    nano: StandIn, gateway: Proxy, kind: str
) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask_plain(line, f"bad-head:{kind}")
        answer = line.answer()
    assert (answer.status, answer.code) == (502, "upstream_invalid")
    assert answer.get("x-should-retry") == "false"
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])


def test_an_answer_that_switches_protocols_is_a_bad_gateway(nano: StandIn, gateway: Proxy) -> None:
    since = nano.state()["last"]
    with gateway.connect() as line:
        ask_plain(line, "1xx:101")
        answer = line.answer()
    assert (answer.status, answer.code) == (502, "upstream_invalid")
    (seen,) = nano.requests(since)
    nano.wait_closed(seen["number"])


def test_our_own_errors_on_messages_are_anthropics(gateway: Proxy) -> None:
    with gateway.connect() as line:
        ask_plain(line, "die-before-head", MESSAGES)
        answer = line.answer()
    assert answer.status == 502
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "api_error"
