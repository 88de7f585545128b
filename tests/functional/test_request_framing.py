"""Where a request ends, how it may be framed, and what is too doubtful or too large to pass."""

from __future__ import annotations

import hashlib
import json

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, TOKEN, Proxy
from tests.functional.wire import LAST_CHUNK, Answer, Wire, chunk, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions?scenario=upload"
MULTIPART = "multipart/form-data; boundary=b"
KIB = 1024
BODY = b'{"model":"standin/echo"}'
WHO = (
    f"Authorization: Bearer {TOKEN}\r\nX-OpenWebUI-User-Email: {ALICE.email}\r\n"
    "Content-Type: application/json\r\n"
).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: proxy.example\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = chunk(BODY) + LAST_CHUNK


@pytest.fixture
def since(nano: StandIn) -> int:
    last: int = nano.state()["last"]
    return last


def post(*lines: bytes, body: bytes = BODY, first: bytes = POST) -> bytes:
    return first + b"".join(lines) + WHO + b"\r\n" + body


DOUBTFUL = {
    "no host": post(LENGTH),
    "two hosts": post(HOST, HOST, LENGTH),
    "two different hosts": post(HOST, b"Host: other.example\r\n", LENGTH),
    "a host that is none": post(b"Host: a b\r\n", LENGTH),
    "a host with a path": post(b"Host: a/b\r\n", LENGTH),
    "a host with user": post(b"Host: a@b\r\n", LENGTH),
    "http/0.9": b"GET /v1/models\r\n\r\n",
    "http/0.9 by name": post(HOST, LENGTH, first=POST.replace(b"1.1", b"0.9")),
    "http/2.0": post(HOST, LENGTH, first=POST.replace(b"1.1", b"2.0")),
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/1.2": post(HOST, LENGTH, first=POST.replace(b"1.1", b"1.2")),
    "http/1.0 with a transfer coding": post(
        HOST, CHUNKED, body=CHUNKS, first=POST.replace(b"1.1", b"1.0")
    ),
    "gzip, chunked": post(HOST, b"Transfer-Encoding: gzip, chunked\r\n", body=CHUNKS),
    "gzip alone": post(HOST, b"Transfer-Encoding: gzip\r\n", body=CHUNKS),
    "identity": post(HOST, b"Transfer-Encoding: identity\r\n", body=CHUNKS),
    "chunked twice": post(HOST, CHUNKED, CHUNKED, body=CHUNKS),
    "chunked, chunked": post(HOST, b"Transfer-Encoding: chunked, chunked\r\n", body=CHUNKS),
    "chunked not last": post(HOST, b"Transfer-Encoding: chunked, identity\r\n", body=CHUNKS),
    "not quite chunked": post(HOST, b"Transfer-Encoding: xchunked\r\n", body=CHUNKS),
    "chunked in quotes": post(HOST, b'Transfer-Encoding: "chunked"\r\n', body=CHUNKS),
    "chunked with a parameter": post(HOST, b"Transfer-Encoding: chunked;a=b\r\n", body=CHUNKS),
    "no coding": post(HOST, b"Transfer-Encoding:\r\n", LENGTH),
    "length and coding": post(HOST, LENGTH, CHUNKED, body=CHUNKS),
    "coding and length": post(HOST, CHUNKED, LENGTH, body=CHUNKS),
    "two lengths": post(HOST, LENGTH, b"Content-Length: 3\r\n"),
    "the same length twice": post(HOST, LENGTH, LENGTH),
    "a list of lengths": post(HOST, b"Content-Length: 24, 24\r\n"),
    "a negative length": post(HOST, b"Content-Length: -1\r\n"),
    "a signed length": post(HOST, b"Content-Length: +24\r\n"),
    "a length in hex": post(HOST, b"Content-Length: 0x18\r\n"),
    "a length that overflows": post(HOST, b"Content-Length: 18446744073709551640\r\n"),
    "an empty length": post(HOST, b"Content-Length:\r\n"),
    "a blank before the colon": post(HOST, b"Content-Length : 24\r\n"),
    "a folded line": post(HOST, LENGTH, b"X-A: b\r\n c\r\n"),
    "a line without a colon": post(HOST, LENGTH, b"nonsense\r\n"),
    "a name with a blank": post(HOST, LENGTH, b"X A: b\r\n"),
    "an empty name": post(HOST, LENGTH, b": b\r\n"),
    "a nul in a value": post(HOST, LENGTH, b"X-A: a\0b\r\n"),
    "a carriage return in a value": post(HOST, LENGTH, b"X-A: a\rb\r\n"),
    "lines that end in LF": post(HOST, LENGTH).replace(b"\r\n", b"\n"),
    "one line that ends in LF": post(HOST, LENGTH, b"X-A: b\n"),
    "a blank in the target": post(HOST, LENGTH, first=b"POST /v1/chat /completions HTTP/1.1\r\n"),
    "a control character in the target": post(
        HOST, LENGTH, first=b"POST /v1/chat\x01 HTTP/1.1\r\n"
    ),
    "an unknown method": post(HOST, LENGTH, first=POST.replace(b"POST", b"POKE")),
    "a method in small letters": post(HOST, LENGTH, first=POST.replace(b"POST", b"post")),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a chunk size that is none": post(HOST, CHUNKED, body=b"zz\r\n"),
    "a negative chunk size": post(HOST, CHUNKED, body=b"-1\r\n"),
    "a chunk size with a prefix": post(
        HOST, CHUNKED, body=b"0x18\r\n" + BODY + b"\r\n" + LAST_CHUNK
    ),
    "a chunk size that overflows": post(HOST, CHUNKED, body=b"f" * 17 + b"\r\n"),
    "a chunk longer than its size": post(
        HOST, CHUNKED, body=b"5\r\n" + BODY + b"\r\n" + LAST_CHUNK
    ),
    "a chunk that ends in LF": post(HOST, CHUNKED, body=b"18\n" + BODY + b"\n0\n\n"),
}


@pytest.mark.parametrize("request_bytes", DOUBTFUL.values(), ids=DOUBTFUL.keys())
@pytest.mark.parametrize("pieces", ["whole", "split"])
def test_what_two_parsers_could_read_differently_is_refused(
    nano: StandIn, line: Wire, since: int, request_bytes: bytes, pieces: str
) -> None:
    # Behind it waits what a smuggler would want to be taken for a request of its own.
    smuggled = head_of("GET", "/health/live")
    if pieces == "whole":
        line.send(request_bytes + smuggled)
    else:
        middle = len(request_bytes) // 2
        line.send(request_bytes[:middle])
        line.send(request_bytes[middle:] + smuggled)
    answer = line.answer()
    assert answer.status == 400
    assert answer.code == "invalid_request"
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"
    assert nano.state()["last"] == since


EXTRAS = {
    "extensions": (b"1;" + b"x" * 5000 + b"\r\n{\r\n") * 5 + LAST_CHUNK,
    "trailers": CHUNKS[:-2]
    + b"".join(b"X-%d: %b\r\n" % (i, b"y" * 900) for i in range(30))
    + b"\r\n",
    "both": b"1;" + b"x" * 9000 + b"\r\n{\r\n0\r\nX-A: " + b"y" * 9000 + b"\r\n\r\n",
    "an extension without end": b"1;" + b"x" * 100_000,
}


@pytest.mark.parametrize("body", EXTRAS.values(), ids=EXTRAS.keys())
@pytest.mark.parametrize("size", [1000, 200_000])
def test_what_chunks_carry_beside_data_is_bounded(
    nano: StandIn, line: Wire, since: int, body: bytes, size: int
) -> None:
    data = post(HOST, CHUNKED, body=body)
    for start in range(0, len(data), size):
        line.send(data[start : start + size])
    answer = line.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert line.ended() == "fin"
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    "head",
    [
        post(HOST, LENGTH, b"X-A: " + b"a" * 65 * KIB + b"\r\n"),
        post(HOST, LENGTH, *[b"X-%d: a\r\n" % i for i in range(8000)]),
        post(HOST, LENGTH, first=POST.replace(b"completions", b"x" * 65 * KIB)),
        POST + b"X-A: " + b"a" * 100 * KIB,
    ],
    ids=["one long line", "many lines", "a long target", "no end"],
)
def test_a_head_beyond_64_kib_is_refused(
    nano: StandIn, line: Wire, since: int, head: bytes
) -> None:
    line.send(head)
    answer = line.answer()
    assert (answer.status, answer.code) == (431, "request_head_too_large")
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"
    assert nano.state()["last"] == since


def test_a_head_below_64_kib_is_served(line: Wire) -> None:
    line.send(post(HOST, LENGTH, b"X-A: " + b"a" * 60 * KIB + b"\r\n"))
    assert line.answer().status == 200


def echo(answer: Answer) -> dict[str, object]:
    assert answer.status == 200
    found: dict[str, object] = answer.json["echo"]
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_body_in_chunks_arrives_whole(line: Wire, size: int) -> None:
    body = json.dumps({"model": "standin/echo", "x": "Grüße" * 2000}).encode()[:-1] + b" }"
    size = max(size, len(body) // 3000)
    line.send(head_of("POST", CHAT, ALICE.headers(("Transfer-Encoding", "chunked"))))
    for start in range(0, len(body), size):
        line.send(chunk(body[start : start + size]))
    line.send(LAST_CHUNK)
    said = echo(line.answer())
    assert said["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert said["body_length"] == len(body)


def test_extensions_and_trailers_are_left_out(nano: StandIn, line: Wire, since: int) -> None:
    body = b"%x;a=b;c\r\n%b\r\n0;d\r\nX-Provider: evil\r\nAuthorization: Bearer x\r\n\r\n"
    line.send(post(HOST, CHUNKED, body=body % (len(BODY), BODY)))
    said = echo(line.answer())
    assert said["body_length"] == len(BODY)
    (seen,) = nano.requests(since)
    assert seen["key"] == ALICE.key
    assert "x-provider" not in {name.lower() for name, _ in seen["headers"]}


def test_a_body_in_single_bytes_arrives_whole(line: Wire) -> None:
    for byte in post(HOST, LENGTH):
        line.send(bytes([byte]))
    assert echo(line.answer())["body_sha256"] == hashlib.sha256(BODY).hexdigest()


def test_json_goes_up_as_it_came(line: Wire) -> None:
    body = b' {"model" : "standin/echo",\t"n": 1.000e+2, "u": "\\u00e9\xc3\xa9", "n": 2 }\r\n '
    said = echo(line.ask("POST", CHAT, ALICE.headers(), body))
    assert said["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_blank_lines_between_requests_are_skipped(line: Wire) -> None:
    line.send(b"\r\n" + post(HOST, LENGTH) + b"\r\n" + post(HOST, LENGTH))
    assert line.answer().status == 200
    assert line.answer().status == 200


@pytest.mark.parametrize("target", ["http://proxy.example", "HTTPS://other.example:99"])
def test_a_target_may_be_absolute(line: Wire, target: str) -> None:
    assert echo(line.ask("POST", f"{target}{CHAT}", ALICE.headers(), BODY))["path"] == (
        "/api/v1/chat/completions"
    )


def test_a_target_with_a_fragment_is_refused(line: Wire) -> None:
    answer = line.ask("POST", f"{CHAT}#x", ALICE.headers(), BODY)
    assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize("target", ["*", "proxy.example:443", "v1/models", "http://proxy.example"])
def test_other_targets_lead_nowhere(line: Wire, target: str) -> None:
    answer = line.ask("OPTIONS" if target == "*" else "GET", target, ALICE.headers())
    assert answer.status in (400, 404)


def old(request: bytes) -> bytes:
    return request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def test_an_old_client_is_served_and_the_connection_ends(line: Wire) -> None:
    line.send(old(post(LENGTH)))
    answer = line.answer()
    assert answer.status == 200
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


def test_an_old_client_may_ask_to_keep_the_connection(line: Wire) -> None:
    for _ in range(2):
        line.send(old(post(LENGTH, b"Connection: keep-alive\r\n")))
        answer = line.answer()
        assert answer.status == 200
        assert answer.get("connection") == "keep-alive"


def test_an_old_client_gets_a_stream_until_the_end_of_the_connection(line: Wire) -> None:
    body = b'{"model":"standin/ok","stream":true}'
    length = b"Content-Length: %d\r\n" % len(body)
    line.send(old(post(length, b"Connection: keep-alive\r\n", body=body)))
    answer = line.answer()
    assert answer.get("transfer-encoding") is None
    assert answer.get("connection") == "close"
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_client_may_end_the_connection(line: Wire) -> None:
    answer = line.ask("POST", CHAT, ALICE.headers(("Connection", "close")), BODY)
    assert answer.get("connection") == "close"
    assert line.ended() == "fin"


# Expect: 100-continue

EXPECT = ("Expect", "100-continue")


def test_a_body_is_asked_for_once_the_head_is_accepted(nano: StandIn, line: Wire) -> None:
    length = ("Content-Length", str(len(BODY)))
    line.send(head_of("POST", CHAT, ALICE.headers(length, EXPECT)))
    assert line.head().status == 100
    line.send(BODY)
    head = line.head()
    line.body(head)
    assert "expect" not in {name.lower() for name, _ in echo(head)["headers"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("framing", [("Content-Length", "30"), ("Transfer-Encoding", "chunked")])
def test_an_upload_is_asked_for_once_the_head_is_accepted(
    line: Wire, framing: tuple[str, str]
) -> None:
    line.send(head_of("POST", UPLOAD, ALICE.headers(framing, EXPECT, kind=MULTIPART)))
    assert line.head().status == 100


def test_nobody_is_asked_for_a_body_that_will_be_refused(line: Wire) -> None:
    length = ("Content-Length", "1000")
    line.send(head_of("POST", CHAT, [("Content-Type", "application/json"), length, EXPECT]))
    assert line.head().status == 401


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        (ALICE.headers(("Content-Length", str(33 * KIB * KIB)), EXPECT), 413),
        (ALICE.headers(("Content-Length", "9"), EXPECT, kind="text/plain"), 415),
        (ALICE.headers(("Content-Length", "9"), ("Expect", "200-ok")), 417),
    ],
)
def test_nobody_is_asked_for_a_body_that_does_not_fit(
    line: Wire, pairs: list[tuple[str, str]], status: int
) -> None:
    line.send(head_of("POST", CHAT, pairs))
    assert line.head().status == status


def test_nobody_is_asked_for_a_body_that_is_there(line: Wire) -> None:
    length = ("Content-Length", str(len(BODY)))
    line.send(head_of("POST", CHAT, ALICE.headers(length, EXPECT)) + BODY)
    assert line.head().status == 200


def test_an_old_client_is_not_asked(line: Wire) -> None:
    line.send(old(post(LENGTH, b"Expect: 100-continue\r\n", body=b"")))
    assert line.silent(0.1)
    line.send(BODY)
    assert line.head().status == 200


# Too much, or of the wrong kind


@pytest.fixture(scope="module")
def small(start_session: Start) -> Proxy:
    """Takes 1000 bytes of JSON and 100,000 of an upload."""
    return start_session(MAX_JSON_BYTES=1000, MAX_UPLOAD_BYTES=100_000)


def padded(size: int) -> bytes:
    body = b'{"model":"standin/echo","x":"'
    return body + b"x" * (size - len(body) - 2) + b'"}'


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (100_000, 413)])
def test_json_over_the_cap_is_refused(small: Proxy, coding: str, size: int, status: int) -> None:
    with small.connect() as line:
        if coding == "length":
            answer = line.ask("POST", CHAT, ALICE.headers(), padded(size))
        else:
            line.send(head_of("POST", CHAT, ALICE.headers(("Transfer-Encoding", "chunked"))))
            line.send(chunk(padded(size)) + LAST_CHUNK)
            answer = line.answer()
        assert answer.status == status
        if status == 413:
            assert answer.code == "request_too_large"


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413)])
def test_an_upload_over_the_cap_is_refused(
    nano: StandIn, since: int, small: Proxy, coding: str, more: int, status: int
) -> None:
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    end = b"\r\n--b--\r\n"
    body = start + bytes(100_000 + more - len(start) - len(end)) + end
    with small.connect() as line:
        if coding == "length":
            answer = line.ask("POST", UPLOAD, ALICE.headers(kind=MULTIPART), body)
        else:
            framing = ("Transfer-Encoding", "chunked")
            line.send(head_of("POST", UPLOAD, ALICE.headers(framing, kind=MULTIPART)))
            line.send(b"".join(chunk(body[i : i + 5000]) for i in range(0, len(body), 5000)))
            line.send(LAST_CHUNK)
            answer = line.answer()
    assert answer.status == status
    if status == 413:
        assert answer.code == "request_too_large"
        for seen in nano.requests(since):  # it learns that the rest will not come
            nano.wait_closed(seen["number"])
            assert not nano.requests(since)[0]["body"]["complete"]


@pytest.mark.parametrize(
    "kind",
    [
        None, "text/plain", "application/x-www-form-urlencoded", MULTIPART,
        "application/json; charset=latin-1", "application/json; charset=utf-16",
        "application/jsonx", "application/problem+json",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(
    nano: StandIn, line: Wire, since: int, kind: str | None
) -> None:
    answer = line.ask("POST", CHAT, ALICE.headers(kind=kind), BODY)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_may_be_named_in_many_ways(line: Wire, kind: str) -> None:
    assert line.ask("POST", CHAT, ALICE.headers(kind=kind), BODY).status == 200


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/mixed; boundary=b", "audio/wav"]
)
def test_what_is_no_upload_is_refused(line: Wire, kind: str) -> None:
    answer = line.ask("POST", UPLOAD, ALICE.headers(kind=kind), b"x")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_an_upload_may_be_json(line: Wire) -> None:
    body = b'{"model":"standin/echo","image":"data:"}'
    assert echo(line.ask("POST", "/v1/images/edits", ALICE.headers(), body))["body_length"] == len(
        body
    )


@pytest.mark.parametrize("coding", ["gzip", "br", "x-unknown"])
def test_compressed_requests_are_refused(line: Wire, coding: str) -> None:
    answer = line.ask("POST", CHAT, ALICE.headers(("Content-Encoding", coding)), BODY)
    assert (answer.status, answer.code) == (415, "unsupported_content_encoding")


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"[]", b"1", b"null", b'"x"', b"{}{}", b"{} x", b'{"a":}', b"{'a':1}",
        b'{"a":1,}', b'{"a":01}', b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\n"}', b'\xef\xbb\xbf{}', '{"a":1}'.encode("utf-16"), b"{}\0", b'{"a":"\\x"}',
    ],
)  # fmt: skip
def test_malformed_json_is_refused(nano: StandIn, line: Wire, since: int, body: bytes) -> None:
    answer = line.ask("POST", CHAT, ALICE.headers(), body)
    assert (answer.status, answer.code) == (400, "invalid_json")
    assert line.ask("GET", "/health/live").status == 200
    assert nano.state()["last"] == since


def test_a_body_that_no_route_takes_is_read_and_dropped(
    nano: StandIn, line: Wire, since: int
) -> None:
    line.ask("GET", "/v1/responses/resp_1", ALICE.headers(), b"GET /v1/evil HTTP/1.1\r\n\r\n")
    (seen,) = nano.requests(since)
    assert seen["body"]["length"] == 0
    assert not {"content-length", "transfer-encoding"} & {n.lower() for n, _ in seen["headers"]}
    assert line.ask("GET", "/health/live").status == 200
