"""The proxy and nginx before the same NanoGPT: the same requests give the same on both sides.

They differ rightly, and so it is not compared, in
- the version, date and `Server` of the answer, and in headers outside our list, which stay here;
- `Cache-Control` of a stream, which is always ours, and its framing: never a length, so that an
  error can follow;
- the request ID, which we add where there is none (tested below);
- an answer that breaks: we end a stream with an error event (tested below), and errors of our
  own are JSON where nginx has pages;
- interim answers, of which nginx before 1.29 makes a connection that cannot be used again;
- heads that can be read in two ways: nginx passes on what it guesses, we answer 502;
- what never goes up here: unlisted paths, bad JSON, a slash at the end; lists of models come from
  our cache;
- the framing of JSON in chunks, which goes up with its length, because it was judged first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from standin.process import StandIn
from tests.functional.peer import Peer
from tests.functional.running import ALICE, ENROLLED, PENNILESS, Proxy
from tests.functional.sides import Call, Side, brief
from tests.functional.wire import Cut, Wire, events

pytestmark = pytest.mark.needs_nginx

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
EDITS, SPEECH = "/v1/images/edits", "/v1/audio/speech"
TRANSCRIPTIONS = "/v1/audio/transcriptions"


def asking(scenario: str, target: str = CHAT, *, stream: bool = False) -> Call:
    body = {"model": f"standin/{scenario}", "stream": stream, "input": "Hé"}
    return Call(target, json.dumps(body, ensure_ascii=False).encode())


@pytest.fixture(scope="module")
def peer(nano: StandIn) -> Iterator[Peer]:
    with Peer(nano, ENROLLED) as running:
        yield running


@pytest.fixture
def ours(nano: StandIn, gateway: Proxy) -> Iterator[Side]:
    with gateway.connect() as line:
        yield Side(nano, line)


@pytest.fixture
def theirs(nano: StandIn, peer: Peer) -> Iterator[Side]:
    with peer.connect() as line:
        yield Side(nano, line)


WHOLE = {
    "ok": 200, "reasoning": 200, "tools": 200, "upload": 200,
    # how the bytes come
    "dribble": 200, "one-write": 200, "until-close": 200, "http10": 200, "gzip": 200,
    "trailers": 200, "set-cookie": 200, "close": 200, "silent:0.05": 200,
    "big:0": 200, "big:0:chunked": 200, "big:3m": 200, "big:3m:chunked": 200,
    # refusals
    "402": 402, "402:object": 402, "403": 403, "403:origin": 403, "413": 413, "429": 429,
    "429:usd": 429, "429:flat": 429, "429:string": 429, "500": 500, "503": 503,
    "string-error": 400, "html-error": 502, "model_not_supported": 400, "redirect": 307,
    "status:299": 299, "status:418": 418, "status:599": 599, "204": 204, "304": 304,
}  # fmt: skip


@pytest.mark.parametrize(("scenario", "status"), WHOLE.items())
def test_whole_answers_are_the_same(ours: Side, theirs: Side, scenario: str, status: int) -> None:
    call = asking(scenario)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert (told.status, told.key) == (status, ALICE.key)
    assert ours.is_open()
    assert theirs.is_open()


STREAMED = [
    "ok", "reasoning", "tools", "comments", "crlf", "split-utf8", "one-write", "dribble",
    "dribble:7", "until-close", "http10", "gzip", "trailers", "set-cookie", "close", "paced:20:0",
    "error-frame", "eof", "eof:finish", "big:1m", "long-event:300k",
]  # fmt: skip


@pytest.mark.parametrize("scenario", STREAMED)
def test_streams_are_the_same(ours: Side, theirs: Side, scenario: str) -> None:
    call = asking(scenario, stream=True)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.status == 200
    assert ("content-type", "text/event-stream") in told.headers
    assert ours.is_open()
    assert theirs.is_open()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [COMPLETIONS, MESSAGES, RESPONSES])
def test_the_other_protocols_are_the_same(
    ours: Side, theirs: Side, path: str, stream: bool
) -> None:
    for scenario, status in (("ok", 200), ("503", 503), ("crlf", 200)):
        told = ours.tell(asking(scenario, path, stream=stream))
        assert told == theirs.tell(asking(scenario, path, stream=stream))
        assert told.status == status


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("scenario", ["1xx", "1xx:5"])
def test_after_interim_answers_comes_the_same(
    ours: Side, theirs: Side, scenario: str, stream: bool
) -> None:
    call = asking(scenario, stream=stream)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.status == 200
    assert ours.is_open()


def test_a_request_id_is_added_where_nginx_has_none(ours: Side, theirs: Side) -> None:
    call = asking("no-request-id")
    mine, other = ours.tell(call), theirs.tell(call)
    (added,) = [pair for pair in mine.headers if pair not in other.headers]
    assert added[0] == "x-request-id"
    assert added[1].startswith("npx-")
    assert replace(mine, headers=other.headers) == other


def test_what_nanogpt_says_of_a_key_is_the_same(ours: Side, theirs: Side) -> None:
    """But for a key that it rejects: then ours says what to do."""
    call = replace(asking("ok"), user=PENNILESS)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.status == 402


# What goes up.

TARGETS = [
    f"{CHAT}?a=1&b=%2Fx%20y&c=&a=2", f"{CHAT}?", f"{CHAT}?x=a/b?c:d@e!$'()*,;=~[]|^",
    f"{CHAT}?%zz=%", f"{CHAT}?caf%C3%A9=%E2%82%AC&d=a+b",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_queries_go_up_the_same(ours: Side, theirs: Side, target: str) -> None:
    call = replace(asking("ok"), target=target)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert (told.path, told.query) == (f"/api{CHAT}", target.partition("?")[2])


LONG = json.dumps({"model": "standin/upload", "prompt": "é🦊" * 200_000}).encode()


@pytest.mark.parametrize("pieces", [0, 1000, 100_000])
def test_long_json_goes_up_the_same(ours: Side, theirs: Side, pieces: int) -> None:
    call = Call(CHAT, LONG, pieces=pieces)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.received == (len(LONG), hashlib.sha256(LONG).hexdigest())


def form(field: str, file: bytes) -> bytes:
    """A form with a model and a file, whose name is the one that the proxy gives it."""
    return (
        b'--b0und\r\nContent-Disposition: form-data; name="model"\r\n\r\nstandin/upload\r\n'
        b'--b0und\r\nContent-Disposition: form-data; name="%b"; filename="file.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--b0und--\r\n"
    ) % (field.encode(), file)


# The boundary nearly occurs in it.
SOUND = bytes(range(256)) * 1200 + b"\r\n--b0un\r\n"


@pytest.mark.parametrize("pieces", [0, 3, 8192, 65_537], ids=lambda size: f"chunks-{size}")
@pytest.mark.parametrize(("path", "field"), [(EDITS, "image"), (TRANSCRIPTIONS, "file")])
def test_uploads_go_up_the_same(
    ours: Side, theirs: Side, path: str, field: str, pieces: int
) -> None:
    file = SOUND if pieces != 3 else SOUND[-3000:]
    body = form(field, file)
    call = Call(path, body, kind="multipart/form-data; boundary=b0und", pieces=pieces)
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.status == 200
    assert told.received == (len(body), hashlib.sha256(body).hexdigest())
    assert told.parts[-1]["sha256"] == hashlib.sha256(file).hexdigest()


@pytest.mark.parametrize("pieces", [0, 8192])
def test_who_asks_before_sending_is_told_to_go_on(
    nano: StandIn, ours: Side, theirs: Side, pieces: int
) -> None:
    body = form("file", SOUND)
    kind = "multipart/form-data; boundary=b0und"
    call = Call(TRANSCRIPTIONS, body, kind=kind, pieces=pieces)
    told = []
    for side in (ours, theirs):
        since = nano.state()["last"]
        side.line.send(call.head(("Expect", "100-continue")))
        assert side.line.head().status == 100
        side.line.send(call.framed())
        told.append(side.told(call, since))
    assert told[0] == told[1]
    assert told[0].received[0] == len(body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sound", ["mp3", "wav", "pcm", "wrong"])
def test_speech_is_the_same(ours: Side, theirs: Side, sound: str, stream: bool) -> None:
    body = {"model": "m", "input": "abc", "response_format": sound, "stream": stream}
    call = Call(SPEECH, json.dumps(body).encode())
    told = ours.tell(call)
    assert told == theirs.tell(call)
    assert told.status == (400 if sound == "wrong" else 200)


def test_kept_responses_are_read_and_deleted_the_same(
    nano: StandIn, ours: Side, theirs: Side
) -> None:
    stories = []
    for side in (ours, theirs):
        story = [side.tell(asking("ok", RESPONSES))]
        name = f"resp_standin_{nano.state()['last']}"
        for method in ("GET", "DELETE", "GET"):
            target = f"{RESPONSES}/{name}?include=a"
            story.append(side.tell(Call(target, method=method, kind=None)))
        stories.append(story)
    assert stories[0] == stories[1]
    assert [told.status for told in stories[0]] == [200, 200, 200, 404]
    assert [told.method for told in stories[0]] == ["POST", "GET", "DELETE", "GET"]


# How a broken answer is told.

BROKEN = [
    "abrupt:between:reset", "abrupt:between:fin", "abrupt:head:reset", "abrupt:head:fin",
    "bad-chunk", "bad-chunk:size", "until-close:reset",
]  # fmt: skip
BROKEN_STREAMS = [*BROKEN, "abrupt:event:reset", "abrupt:utf8:fin", "abrupt:chunk:reset"]


def read_cut(line: Wire, call: Call) -> tuple[int, bytes]:
    """Status and what came of an answer that must not end cleanly."""
    line.send(call.head() + call.framed())
    head = line.head()
    with pytest.raises(Cut) as caught:
        line.body(head)
    return head.status, brief(head.body + caught.value.rest)


@pytest.mark.parametrize("path", [CHAT, SPEECH])
@pytest.mark.parametrize("scenario", BROKEN)
def test_a_broken_answer_ends_cleanly_on_neither_side(
    ours: Side, theirs: Side, scenario: str, path: str
) -> None:
    call = asking(scenario, path)
    (status, mine), (_, other) = read_cut(ours.line, call), read_cut(theirs.line, call)
    assert status == 200
    # Half an answer is a byte longer where the number in it has a digit more.
    shorter, longer = sorted((mine, other), key=len)
    assert longer.startswith(shorter)
    assert len(longer) - len(shorter) <= 1
    assert bool(shorter) == ("head" not in scenario)


@pytest.mark.parametrize("scenario", BROKEN_STREAMS)
def test_a_broken_stream_is_cut_by_nginx_and_ended_with_an_error_by_us(
    ours: Side, theirs: Side, scenario: str
) -> None:
    # Who reads events takes their end for the end of the answer, and many clients do not tell a
    # cut from it. nginx, which knows of no events, has nothing better than the cut.
    call = asking(scenario, stream=True)
    _, came = read_cut(theirs.line, call)
    told = ours.line.ask("POST", CHAT, ALICE.headers(), call.body)
    body = brief(told.body)
    assert body.startswith(came)
    if scenario == "until-close:reset":  # after [DONE] there is nothing left to break
        assert body == came
    else:
        error, done = events(body.removeprefix(came))
        assert b'"error":{' in error
        assert b'"code":"upstream_' in error
        assert done == b"data: [DONE]"
    assert ours.is_open()


UNANSWERED = [
    "die-before-head:0:fin", "die-before-head:0:reset", "bad-head:name", "bad-head:nul",
    "bad-head:fold", "bad-head:huge",
]  # fmt: skip


@pytest.mark.parametrize("scenario", UNANSWERED)
def test_no_answer_is_a_bad_gateway_on_both_sides_and_nobody_asks_again(
    nano: StandIn, ours: Side, theirs: Side, scenario: str
) -> None:
    call = asking(scenario)
    for side in (ours, theirs):
        since = nano.state()["last"]
        assert side.line.ask("POST", CHAT, ALICE.headers(), call.body).status == 502
        assert len(nano.requests(since)) == 1
        assert side.is_open()
