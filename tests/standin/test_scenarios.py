"""Each scenario does what `standin/README.md` says of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from standin.process import StandIn
from standin.scenarios import EARLY, SCENARIOS
from tests.standin.conftest import KEY, chat_body, read_all

RawAsk = Callable[..., socket.socket]
README = Path(__file__).parents[2] / "standin" / "README.md"
OWNER = hashlib.sha256(KEY.encode()).hexdigest()
ERRORS = (aiohttp.ClientError, aiohttp.ClientPayloadError)


async def stream(
    client: aiohttp.ClientSession, scenario: str, path: str = "chat/completions"
) -> bytes:
    body = chat_body(f"standin/{scenario}", stream=True, input="hi", prompt="hi")
    async with client.post(path, json=body) as answer:
        return await answer.read()


def test_readme_names_every_scenario() -> None:
    table = README.read_text().partition("## Scenarios")[2].partition("\n## ")[0]
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line[:3] == "| `")
    named = set(re.findall(r"`([a-z0-9_-]+)", first_cells))
    assert named == {*SCENARIOS, *EARLY}


@pytest.mark.parametrize(
    ("scenario", "status", "part"),
    [
        ("402", 402, {"error": "Insufficient balance", "requiredBalance": 0.0035, "status": 402}),
        ("402:object", 402, {"code": 402}),
        ("403", 403, {"code": "model_not_included"}),
        ("403:origin", 403, {"code": "api_key_origin_not_allowed"}),
        ("413", 413, {"code": "request_too_large"}),
        ("429", 429, {"code": "daily_rpd_limit_exceeded"}),
        ("429:usd", 429, {"code": "daily_usd_limit_exceeded"}),
        ("429:flat", 429, {"code": "rate_limited", "message": "Rate limit exceeded"}),
        ("500", 500, {"code": "internal_error"}),
        ("503", 503, {"code": "service_unavailable"}),
        ("string-error", 400, {"error": "Something is wrong", "status": 400}),
        ("model_not_supported", 400, {"code": "model_not_supported", "param": "model"}),
        ("no-such-scenario", 400, {"code": "model_not_supported"}),
        ("status:418", 418, {"object": "chat.completion"}),
    ],
)
async def test_refusals(
    client: aiohttp.ClientSession, scenario: str, status: int, part: dict[str, Any]
) -> None:
    async with client.post("chat/completions", json=chat_body(f"standin/{scenario}")) as answer:
        said = await answer.json()
    inner = said["error"] if isinstance(said.get("error"), dict) else said
    assert answer.status == status
    assert inner == {**inner, **part}
    assert "X-Request-ID" in answer.headers
    assert ("Retry-After" in answer.headers) is (status in (429, 503))


async def test_scenarios_by_query_work_without_a_model(client: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"x" * 100_000, filename="a.mp3")
    async with client.post("audio/transcriptions?scenario=402", data=form) as answer:
        assert answer.status == 402
    async with client.get("models?scenario=html-error") as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(client: aiohttp.ClientSession, status: int) -> None:
    async with client.get(f"models?scenario={status}") as answer:
        assert (answer.status, await answer.read()) == (status, b"")


async def test_redirects_point_somewhere(client: aiohttp.ClientSession) -> None:
    async with client.get("models?scenario=redirect:302", allow_redirects=False) as answer:
        assert (answer.status, "redirected=1" in answer.headers["Location"]) == (302, True)


@pytest.mark.parametrize(
    ("path", "sign", "last"),
    [
        ("chat/completions", b'"finish_reason":"error"', b"data: [DONE]\n\n"),
        ("completions", b'"code":"service_unavailable"', b"data: [DONE]\n\n"),
        ("responses", b'"type":"error"', b"data: [DONE]\n\n"),
        ("messages", b"event: error\n", b"}}\n\n"),
    ],
)
async def test_error_frames_speak_each_protocol(
    client: aiohttp.ClientSession, path: str, sign: bytes, last: bytes
) -> None:
    text = await stream(client, "error-frame:2", path)
    assert sign in text
    assert text.endswith(last)
    assert text.count(b"data: ") == 3 + (last[:4] == b"data")


async def test_eof_ends_cleanly_without_the_end(client: aiohttp.ClientSession) -> None:
    assert b"[DONE]" not in await stream(client, "eof:finish")
    bare = await stream(client, "eof")
    assert b'"finish_reason":"stop"' not in bare
    assert b"message_stop" not in await stream(client, "eof", "messages")


@pytest.mark.parametrize("where", ["between", "event", "utf8", "chunk", "head"])
@pytest.mark.parametrize("how", ["reset", "fin"])
async def test_abrupt_breaks_off(
    client: aiohttp.ClientSession, nano: StandIn, where: str, how: str
) -> None:
    since = nano.state()["last"]
    with pytest.raises(ERRORS):
        await stream(client, f"abrupt:{where}:{how}")
    assert nano.wait_next(since, "closed")["request"]["outcome"] == "cut"


async def test_abrupt_cuts_plain_answers_too(client: aiohttp.ClientSession) -> None:
    with pytest.raises(ERRORS):
        async with client.post("embeddings", json={"model": "standin/abrupt"}) as answer:
            await answer.read()


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_die_before_head(client: aiohttp.ClientSession, how: str) -> None:
    with pytest.raises(ERRORS):
        await stream(client, f"die-before-head:0:{how}")


async def test_slow_delays_the_head_and_silent_does_not(client: aiohttp.ClientSession) -> None:
    start = time.monotonic()
    body = chat_body("standin/silent:0.3", stream=True)
    async with client.post("chat/completions", json=body) as answer:
        head = time.monotonic() - start
        await answer.read()
    assert head < 0.3
    assert time.monotonic() - start >= 0.6
    start = time.monotonic()
    async with client.post("chat/completions", json=chat_body("standin/slow:0.3")):
        assert time.monotonic() - start >= 0.3


async def test_paced_pieces_name_owner_and_place(client: aiohttp.ClientSession) -> None:
    text = await stream(client, "paced:5:0.01")
    assert re.findall(rb'" (\w+):(\d)"', text) == [
        (OWNER[:8].encode(), str(i).encode()) for i in range(5)
    ]


async def test_bytes_of_streams(client: aiohttp.ClientSession) -> None:
    plain = await stream(client, "ok")
    windows = await stream(client, "crlf")
    assert windows.count(b"\r\n\r\n") == plain.count(b"\n\n")
    assert b": keep-alive\n\n" in await stream(client, "comments")
    assert len(await stream(client, "long-event:300k")) > 300 * 1024


async def test_split_utf8_begins_pieces_inside_characters(client: aiohttp.ClientSession) -> None:
    body = chat_body("standin/split-utf8", stream=True)
    async with client.post("chat/completions", json=body) as answer:
        pieces = [piece async for piece in answer.content.iter_any()]
    assert sum(piece[0] & 0xC0 == 0x80 for piece in pieces) > 10
    assert "世界" in b"".join(pieces).decode()


async def test_gzip_is_sent_unasked(nano: StandIn) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(auto_decompress=False, headers=headers) as session:
        url = f"{nano.base_url}/chat/completions"
        async with session.post(url, json=chat_body("standin/gzip")) as answer:
            packed = await answer.read()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed))["object"] == "chat.completion"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_big_answers_are_exact(client: aiohttp.ClientSession, framing: str) -> None:
    body = {"model": f"standin/big:3m:{framing}", "input": "x"}
    async with client.post("audio/speech", json=body) as answer:
        data = await answer.read()
    assert len(data) == 3 << 20
    assert ("Content-Length" in answer.headers) is (framing == "length")
    assert data.startswith(OWNER[:16].encode())
    assert len(await stream(client, "big:200k")) > 190 * 1024


@pytest.mark.parametrize("scenario", ["until-close", "http10", "dribble:7", "one-write", "close"])
async def test_unusual_framing_is_still_an_answer(
    client: aiohttp.ClientSession, scenario: str
) -> None:
    assert (await stream(client, scenario)).endswith(b"data: [DONE]\n\n")
    async with client.post("embeddings", json={"model": f"standin/{scenario}"}) as answer:
        assert (await answer.json())["object"] == "list"


def test_stray_bytes_follow_the_answer_now_or_later(raw_ask: RawAsk, nano: StandIn) -> None:
    assert read_all(raw_ask("stray-bytes")).count(b"HTTP/1.1 200") == 2
    assert read_all(raw_ask("stray-bytes:now:junk")).endswith(b"STRAY\xff\xfe")
    since = nano.state()["last"]
    line = raw_ask("stray-bytes:later")
    nano.wait_next(since, "stray")
    found = read_all(line)
    assert found.count(b"HTTP/1.1 200") == 2
    assert OWNER.encode() in found


def upload(nano: StandIn, scenario: str, body: bytes, length: int) -> socket.socket:
    line = socket.create_connection((nano.host, nano.port), timeout=5)
    line.sendall(
        b"POST /api/v1/audio/transcriptions%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s"
        % (scenario.encode(), KEY.encode(), length, body)
    )
    return line


@pytest.mark.parametrize("how", ["keep", "close", "abort", "hold"])
def test_early_answers_come_before_the_body(nano: StandIn, how: str) -> None:
    with upload(nano, f"?scenario=early-answer:{how}:403", b"x" * 10, 1000) as line:
        head = line.recv(65536)
        assert head.startswith(b"HTTP/1.1 403")
        assert (b"Connection: close" in head) is (how == "close")
        if how == "abort":
            with pytest.raises(ConnectionResetError):
                line.recv(1)
        if how == "keep":
            line.sendall(b"x" * 990 + b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200")


def test_early_answers_are_found_in_the_first_bytes_of_a_body(nano: StandIn) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nstandin/early-answer\r\n'
    with upload(nano, "", body, 100_000) as line:
        assert line.recv(65536).startswith(b"HTTP/1.1 200")


def test_never_reads_fills_the_pipe_and_notices_the_end(nano: StandIn) -> None:
    since = nano.state()["last"]
    with upload(nano, "?scenario=never-reads", b"", 100 << 20) as line:
        line.settimeout(0.5)
        with pytest.raises(TimeoutError):
            line.sendall(b"x" * (50 << 20))
        number = nano.wait_next(since)["request"]["number"]
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    nano.wait_closed(number)
    (seen,) = nano.requests(number - 1)
    assert seen["outcome"] == "client_gone"


def test_informational_answers_come_first(raw_ask: RawAsk) -> None:
    found = read_all(raw_ask("1xx:3"))
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 ")
    assert (found.count(b"HTTP/1.1 103"), found.count(b"HTTP/1.1 200")) == (3, 1)
    assert read_all(raw_ask("1xx:101")).startswith(b"HTTP/1.1 101 ")


def test_trailers_and_bad_chunks(raw_ask: RawAsk) -> None:
    assert b"\r\n0\r\nX-Checksum: abc\r\nSet-Cookie: trailer=1\r\n" in read_all(raw_ask("trailers"))
    assert read_all(raw_ask("bad-chunk")).endswith(b"zz\r\nabc\r\n")
    assert read_all(raw_ask("bad-chunk:size")).endswith(b"f" * 40 + b"\r\nabc\r\n")


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("garbage", b"this is not HTTP"),
        ("status", b"HTTP/1.1 abc"),
        ("two-lengths", b"Content-Length: 3"),
        ("both", b"Transfer-Encoding: chunked"),
        ("negative", b"Content-Length: -1"),
        ("name", b"Bad Name: x"),
        ("nul", b"a\0b"),
        ("fold", b"a\r\n b"),
        ("bare-lf", b"200 OK\nContent-Type"),
        ("gzip-te", b"gzip, chunked"),
        ("huge", b"x" * 200_000),
        ("many", b"X-Many: x\r\n" * 5000),
        ("version", b"HTTP/3.0 200"),
    ],
)
def test_bad_heads(raw_ask: RawAsk, kind: str, sign: bytes) -> None:
    assert sign in read_all(raw_ask(f"bad-head:{kind}"))


async def test_headers_planted_and_left_out(client: aiohttp.ClientSession) -> None:
    async with client.post("embeddings", json={"model": "standin/set-cookie"}) as answer:
        assert len(answer.headers.getall("Set-Cookie")) == 2
        assert "X-Hop" in answer.headers
    async with client.post("embeddings", json={"model": "standin/no-request-id"}) as answer:
        assert "X-Request-ID" not in answer.headers


def test_idle_close_says_nothing_before(raw_ask: RawAsk, nano: StandIn) -> None:
    since = nano.state()["last"]
    assert b"onnection: close" not in read_all(raw_ask("idle-close:0.2"), quiet=2)
    seen = nano.wait_next(since, "closed")["request"]
    assert seen["moments"]["closed"] - seen["moments"]["answered"] >= 0.2
    assert b"onnection: close" not in read_all(raw_ask("idle-close"), quiet=2)
    number = nano.state()["last"]
    assert nano.wait_for(number, "answered")["request"]["outcome"] == "answered"


@pytest.mark.parametrize("scenario", ["reasoning", "tools"])
async def test_content_of_other_kinds(client: aiohttp.ClientSession, scenario: str) -> None:
    sign = b'"reasoning":' if scenario == "reasoning" else b'"tool_calls":'
    assert sign in await stream(client, scenario)
    async with client.post("chat/completions", json=chat_body(f"standin/{scenario}")) as answer:
        assert sign in await answer.read()
