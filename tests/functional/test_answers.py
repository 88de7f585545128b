"""NanoGPT's answer reaches the client: status and body byte for byte, and headers by allow-list."""

from __future__ import annotations

import json
import re
import zlib
from email.utils import parsedate_to_datetime

import pytest

from standin.process import StandIn
from tests.functional.running import ALICE, Proxy
from tests.functional.wire import Answer, Wire, events, head_of

CHAT = "/v1/chat/completions"
NUMBER = re.compile(rb"standin_\d+")
WHOLE = [
    "ok", "reasoning", "tools", "dribble:3", "one-write", "402", "402:object", "403", "403:origin",
    "413", "429", "429:usd", "429:flat", "429:string", "429:date", "500", "503", "string-error",
    "html-error", "model_not_supported", "no-such-scenario", "status:418", "status:299",
    "status:599", "status:200", "redirect", "redirect:301", "204", "304", "gzip", "until-close",
    "http10", "1xx", "1xx:5", "trailers", "set-cookie", "no-request-id", "close", "silent:0.1",
]  # fmt: skip
STREAMED = ["ok", "gzip", "until-close", "trailers", "error-frame", "eof", "1xx", "set-cookie"]


def body_for(scenario: str, stream: bool = False) -> bytes:
    return json.dumps({"model": f"standin/{scenario}", "stream": stream}).encode()


def relayed(proxy: Proxy, scenario: str, *, stream: bool = False, path: str = CHAT) -> Answer:
    with proxy.connect() as line:
        return line.ask("POST", path, ALICE.headers(), body_for(scenario, stream))


class Direct(Wire):
    """A client of the stand-in itself."""

    def head(self) -> Answer:
        text = self.until(b"\r\n\r\n").decode("utf-8", "surrogateescape")
        first, *lines = text.split("\r\n")[:-2]
        pairs = [
            (name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)
        ]
        return Answer(int(first.split(" ")[1]), "", pairs)


def straight(nano: StandIn, scenario: str, *, stream: bool = False) -> Answer:
    """What the stand-in says without a proxy between."""
    body = body_for(scenario, stream)
    pairs = [("Authorization", f"Bearer {ALICE.key}"), ("Content-Type", "application/json")]
    with Direct(nano.host, nano.port) as line:
        line.send(
            head_of("POST", f"/api{CHAT}", [*pairs, ("Content-Length", str(len(body)))]) + body
        )
        return line.answer()


def same(body: bytes) -> bytes:
    """The body with the numbers of requests made equal; compressed ones are looked into."""
    if body[:2] == b"\x1f\x8b":
        body = zlib.decompress(body, 31)
    return NUMBER.sub(b"standin_N", body)


@pytest.mark.parametrize("scenario", WHOLE)
def test_status_and_body_are_passed_on_as_they_are(
    nano: StandIn, gateway: Proxy, scenario: str
) -> None:
    ours, theirs = relayed(gateway, scenario), straight(nano, scenario)
    assert ours.status == theirs.status
    assert same(ours.body) == same(theirs.body)
    for name in ("content-type", "content-encoding", "retry-after", "www-authenticate", "etag"):
        if name != "retry-after" or scenario != "429:date":
            assert ours.all(name) == theirs.all(name)


@pytest.mark.parametrize("scenario", STREAMED)
def test_streams_are_passed_on_as_they_are(nano: StandIn, gateway: Proxy, scenario: str) -> None:
    ours = relayed(gateway, scenario, stream=True)
    theirs = straight(nano, scenario, stream=True)
    assert ours.status == theirs.status
    assert same(ours.body) == same(theirs.body)
    assert ours.get("content-type") == "text/event-stream"


def test_an_error_is_no_stream_though_one_was_asked_for(nano: StandIn, gateway: Proxy) -> None:
    ours = relayed(gateway, "429", stream=True)
    assert (ours.status, ours.get("content-type")) == (429, "application/json")
    assert ours.get("retry-after") == "7"
    assert ours.get("content-length") is not None


@pytest.mark.parametrize("scenario", ["204", "304"])
def test_what_has_no_body_has_no_framing(gateway: Proxy, scenario: str) -> None:
    answer = relayed(gateway, scenario)
    assert not answer.names & {"content-length", "transfer-encoding"}
    with gateway.connect() as line:
        for _ in range(2):
            line.ask("POST", CHAT, ALICE.headers(), body_for(scenario))
        assert line.ask("GET", "/health/live").status == 200


@pytest.mark.parametrize("scenario", ["1xx", "1xx:30"])
def test_interim_answers_are_left_out(gateway: Proxy, scenario: str) -> None:
    with gateway.connect() as line:
        body = body_for(scenario)
        line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)
        head = line.head()
    assert head.status == 200
    assert "link" not in head.names


def test_trailers_are_dropped(gateway: Proxy) -> None:
    for stream in (False, True):
        answer = relayed(gateway, "trailers", stream=stream)
        assert answer.trailers == b""
        assert not answer.names & {"trailer", "x-checksum", "set-cookie"}
        assert answer.get("x-request-id") != "trailer"


def test_lengths_are_kept_and_chunks_stay_chunks(gateway: Proxy) -> None:
    known = relayed(gateway, "ok")
    assert known.get("content-length") == str(len(known.body))
    assert relayed(gateway, "big:10:chunked").get("transfer-encoding") == "chunked"
    assert relayed(gateway, "until-close").get("transfer-encoding") == "chunked"
    assert relayed(gateway, "ok", stream=True).get("transfer-encoding") == "chunked"


def test_an_answer_without_a_body_is_whole(gateway: Proxy) -> None:
    assert relayed(gateway, "big:0").get("content-length") == "0"
    assert relayed(gateway, "big:0:chunked").body == b""


def test_nothing_that_is_not_allowed_comes_down(gateway: Proxy) -> None:
    for stream in (False, True):
        answer = relayed(gateway, "set-cookie", stream=stream)
        expected = {
            "content-type", "x-request-id", "x-nanogpt-advisor-id", "x-ratelimit-remaining", "date",
        }  # fmt: skip
        framing = {"transfer-encoding", "cache-control", "x-accel-buffering"}
        assert answer.names == expected | (framing if stream else {"content-length"})
        assert answer.get("x-request-id") != "underscored"


def test_what_a_stream_needs_is_said_once(gateway: Proxy) -> None:
    answer = relayed(gateway, "ok", stream=True)
    assert answer.all("cache-control") == ["no-cache"]
    assert answer.all("x-accel-buffering") == ["no"]
    assert relayed(gateway, "ok").get("x-accel-buffering") is None


def test_redirects_are_not_followed(nano: StandIn, gateway: Proxy) -> None:
    since = nano.state()["last"]
    answer = relayed(gateway, "redirect")
    assert answer.status == 307
    assert answer.get("location") is None
    assert len(nano.requests(since)) == 1


def test_nanogpts_request_id_reaches_the_client(nano: StandIn, gateway: Proxy) -> None:
    since = nano.state()["last"]
    for scenario in ("ok", "500", "402"):
        answer = relayed(gateway, scenario)
        assert answer.get("x-request-id") == nano.requests(since)[-1]["request_id"]


def test_ours_is_added_where_there_is_none(gateway: Proxy) -> None:
    first, second = (relayed(gateway, "no-request-id").get("x-request-id") for _ in range(2))
    assert first
    assert first.startswith("npx-")
    assert first != second
    gateway.wait_said(f"id={first} ")
    refused = relayed(gateway, "ok", path="/v1/nowhere")
    assert (refused.get("x-request-id") or "").startswith("npx-")


def test_every_answer_has_one_date(gateway: Proxy) -> None:
    for scenario in ("ok", "one-write", "die-before-head"):
        date = relayed(gateway, scenario).get("date")
        assert date is not None
        assert parsedate_to_datetime(date).tzinfo is not None


def test_sound_comes_as_bytes(gateway: Proxy) -> None:
    body = b'{"model":"m","input":"abc"}'
    with gateway.connect() as line:
        answer = line.ask("POST", "/v1/audio/speech", ALICE.headers(), body)
    assert answer.get("content-type") == "audio/mpeg"
    assert len(answer.body) == 3 * 1024
    assert (answer.get("x-cost"), answer.get("x-remaining-balance")) == ("0.0012", "12.30")


HEAD_PATHS = [
    "/v1/models", "/v1/embedding-models", "/v1/image-models", "/v1/audio-models",
    "/v1/video-models", "/health/live", "/health/ready",
]  # fmt: skip


@pytest.mark.parametrize("path", HEAD_PATHS)
def test_head_is_answered_like_get_without_the_body(gateway: Proxy, path: str) -> None:
    with gateway.connect() as line:
        got = line.ask("GET", path, ALICE.headers())
        headed = line.ask("HEAD", path, ALICE.headers())
        assert (headed.status, headed.body) == (200, b"")
        assert headed.get("content-length") == str(len(got.body))
        assert line.ask("GET", "/health/live").status == 200


@pytest.mark.parametrize("stream", [True, False])
def test_all_events_are_there(gateway: Proxy, stream: bool) -> None:
    answer = relayed(gateway, "paced:50:0", stream=stream)
    assert b"".join(events(answer.body)).count(ALICE.digest[:8].encode()) == 50
