"""One client's bytes: the same requests however they are split, in order, and nothing beyond."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nanogpt_proxy.gateway.server import Phase
from tests.gateway.conftest import Answers, Wire, make_settings, pieces, turns
from tests.gateway.server.conftest import Door

HOST = b"Host: proxy\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/images HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SOON = 0.01  # seconds


def post(body: bytes, extra: bytes = b"") -> bytes:
    return POST + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes, ext: bytes = b"", trailers: bytes = b"") -> bytes:
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), ext, chunk) for chunk in chunks)
    return POST + CHUNKED + framed + b"0" + ext + b"\r\n" + trailers + b"\r\n"


REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a host that is none": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "a host with a blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "HTTP/0.9 in short": (b"GET /\r\n\r\n", 400),
    "HTTP/0.9 in full": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "a coding in HTTP/1.0": (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"0\r\n\r\n", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked, gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "gzip": (POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" + CHUNKED + b"0\r\n\r\n", 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding and length": (POST + b"Content-Length: 3\r\n" + CHUNKED + b"0\r\n\r\n", 400),
    "length and coding": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "the same length twice": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "a signed length": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "a negative length": (POST + b"Content-Length: -3\r\n\r\nabc", 400),
    "a length in hex": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\nabc", 400),
    "an endless length": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nabc", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a bare line feed after a value": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "a bare CR in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400),
    "a NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a folded line with a tab": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n\tb\r\n\r\n", 400),
    "a folded coding": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "a blank before the colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400),
    "a coding with a blank": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"abc\r\n\r\n", 400),
    "a blank before the first name": (b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", 400),
    "a tab in the target": (b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two blanks": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an unknown method": (b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40, 400),
    "an expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", 417),
    "WebSocket": (
        b"GET /v1/realtime HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
        404,
    ),
    "h2c": (
        b"GET /v1/models HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        404,
    ),
    "CONNECT": (b"CONNECT nano-gpt.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
}


@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_two_parsers_could_read_in_two_ways_is_refused(
    door: Door, head: bytes, status: int
) -> None:
    for split in (pieces(head, []), pieces(head, range(len(head)))):
        door.served.clear()
        wire = door.connect()
        wire.feed(GET, *split)
        good, bad = door.served
        assert good.seen[-1] == 200
        assert bad.told[-1] == status
        assert Answers(wire.sent).statuses == [200, status]
        assert b"connection: close" in wire.sent
        wire.feed(GET)
        assert len(door.served) == 2, "nothing is served behind it"
        wire.close()
        await turns()


BROKEN_BODIES = {
    "a size that is none": b"zz\r\n",
    "a blank in the size": b"3 \r\nabc\r\n0\r\n\r\n",
    "an endless size": b"f" * 20 + b"\r\n",
    "a longer chunk than said": b"3\r\nabcd\r\n0\r\n\r\n",
    "a bare line feed": b"3\nabc\r\n0\r\n\r\n",
    "a line feed in an extension": b"3;a=\nb\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_a_broken_chunk_is_refused_though_its_head_was_good(door: Door, body: bytes) -> None:
    for split in (pieces(body, []), pieces(body, range(len(body)))):
        door.served.clear()
        wire = door.connect()
        wire.feed(POST + CHUNKED, *split)
        assert [served.told for served in door.served] == [["start", 400]]
        assert Answers(wire.sent).statuses == [400]
        assert wire.eof
        wire.close()
        await turns()


GOOD = [
    GET,
    b"\r\n" + GET,
    b"HEAD /v1/models?a=b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://proxy/v1/models HTTP/1.1\r\nhost:\r\n\r\n",
    b"DELETE /v1/responses/r HTTP/1.1\r\nHOST: [::1]:3000\r\nX: \r\nX:  a b \xe9 \r\n\r\n",
    post(b""),
    post(b"hello"),
    post(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    post(b"x" * 300, b"Expect: 100-continue\r\n"),
    chunked(),
    chunked(b"hello", b"0\r\n\r\n", b"x" * 300),
    chunked(b"hello", ext=b';a="b"', trailers=b"Host: other\r\nAuthorization: x\r\n"),
    chunked(b"z" * 17, ext=b";" + b"y" * 100),
]
BAD = [head for head, _ in REFUSED.values()] + [POST + CHUNKED + b for b in BROKEN_BODIES.values()]
CLOSING = [
    b"GET /v1/models HTTP/1.0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
]


async def understood(sent: list[bytes], *, at_once: bool) -> tuple[list[Any], bytes]:
    """The requests that were seen, and the answers."""
    door = Door(make_settings())
    door.at_once = at_once
    wire = door.connect()
    wire.feed(*sent)
    for served in door.served:  # it grows while the later ones are served
        if not served.done and served.request.complete:
            served.answer()
    seen, answers = [served.seen for served in door.served], wire.sent
    wire.close()
    await turns()
    return seen, answers


@hypothesis_settings(max_examples=150)
@given(
    st.lists(st.sampled_from(GOOD), max_size=5),
    st.lists(st.sampled_from(BAD + CLOSING), max_size=1),
    st.lists(st.sampled_from(GOOD), max_size=1),
    st.lists(st.integers(0, 1500), max_size=12),
    st.booleans(),
)
def test_splits_do_not_matter(
    good: list[bytes], bad: list[bytes], behind: list[bytes], cuts: list[int], at_once: bool
) -> None:
    data = b"".join(good + bad + behind)

    async def compare() -> None:
        whole = await understood([data], at_once=True)
        split = await understood(list(pieces(data, cuts)), at_once=at_once)
        assert split == whole

    asyncio.run(compare())


@hypothesis_settings(max_examples=40)
@given(st.sampled_from(GOOD[6:]), st.sampled_from(BAD))
def test_byte_by_byte_is_the_same_as_one_piece(good: bytes, bad: bytes) -> None:
    data = good + bad

    async def compare() -> None:
        whole = await understood([data], at_once=True)
        assert await understood([bytes([b]) for b in data], at_once=True) == whole

    asyncio.run(compare())


name = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)


@given(st.lists(st.tuples(name, st.binary(max_size=30)), max_size=4))
def test_no_byte_that_ends_a_line_gets_into_a_request(sent: list[tuple[bytes, bytes]]) -> None:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in sent)

    async def see() -> None:
        door = Door(make_settings())
        wire = door.connect()
        wire.feed(b"GET /v1/models HTTP/1.1\r\n" + HOST + lines + b"\r\n")
        for served in door.served:
            if served.request.refusal is None:
                for pair in served.request.headers:
                    assert not {*b"\r\n\0"} & {*b"".join(pair)}
        wire.close()
        await turns()

    asyncio.run(see())


async def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    targets = [b"/%d" % number for number in range(10)]
    wire.feed(b"".join(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST) for target in targets))
    for number, target in enumerate(targets):
        assert len(door.served) == number + 1, "one at a time"
        assert door.served[number].request.target == target
        door.served[number].answer()
    assert Answers(wire.sent).bodies == [b"GET " + target for target in targets]
    assert not wire.closed


async def test_sixteen_further_requests_are_held_and_no_more(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(GET)
    for _ in range(30):
        wire.feed(GET)
    for served in door.served:
        served.answer()
    assert len(door.served) == 17
    assert wire.eof, "the client sends the rest again on another connection"
    assert [a.get("connection") for a in Answers(wire.sent).headers] == [None] * 16 + ["close"]


async def test_who_floods_while_being_served_is_cut_off(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(GET, GET)
    wire.feed(post(b"x" * 70_000))
    assert wire.aborted
    assert door.served[0].told == ["start", "gone"]
    assert len(door.served) == 1


async def test_who_floods_behind_a_fault_is_cut_off_too(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(GET, b"not HTTP\r\n")
    for _ in range(70):
        wire.feed(b"x" * 1024)
    assert wire.aborted
    assert door.served[0].told == ["start", "gone"]


async def test_a_client_whose_request_is_complete_is_never_paused(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(post(b"hello"))
    client = door.served[0].client
    client.pause_reading()
    wire.end()
    assert not wire.paused
    assert door.served[0].told == ["start", "gone"]


async def test_an_unfinished_request_can_be_held_back(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(post(b"hello")[:-1])
    client = door.served[0].client
    states = []
    for step in (client.pause_reading, client.resume_reading):
        step()
        step()
        states.append(wire.paused)
    assert states == [True, False]
    wire.feed(b"o")
    assert door.served[0].body == b"hello"


async def test_the_end_of_the_sending_side_means_that_it_is_gone(door: Door) -> None:
    door.at_once = False
    for unfinished in (GET, POST + CHUNKED + b"5\r\nhe"):
        door.served.clear()
        wire = door.connect()
        wire.feed(unfinished)
        wire.end()
        assert door.served[0].told == ["start", "gone"]
        await turns()
        assert door.served[0].told == ["start", "gone"], "told once"
        door.served[0].client.write(b"too late")
        assert wire.sent == b""


async def test_a_slow_reader_is_told_of(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.protocol.pause_writing()
    wire.feed(GET)
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    assert door.served[0].told == ["start", "full", "drained"]


@pytest.mark.parametrize(("size", "status"), [(65_000, 200), (66_000, 431)])
@pytest.mark.parametrize("step", [100_000, 40_000, 1_000])
async def test_a_head_ends_at_64_kib(door: Door, size: int, status: int, step: int) -> None:
    frame = b"GET / HTTP/1.1\r\n" + HOST + b"X: %b\r\n\r\n"
    head = frame % (b"x" * (size - len(frame)))
    wire = door.connect()
    wire.feed(*pieces(head, range(step, size, step)))
    assert Answers(wire.sent).statuses == [status]


async def test_a_head_without_an_end_is_refused_before_it_comes(door: Door) -> None:
    wire = door.connect()
    wire.feed(b"GET / HTTP/1.1\r\n" + HOST + b"X: ")
    for _ in range(70):
        wire.feed(b"x" * 1000)
    assert [served.told for served in door.served] == [["start", 431]]
    assert Answers(wire.sent).statuses == [431]


async def test_many_small_headers_are_a_long_head_too(door: Door) -> None:
    wire = door.connect()
    wire.feed(b"GET / HTTP/1.1\r\n" + HOST + b"a:b\r\n" * 16_000 + b"\r\n")
    assert Answers(wire.sent).statuses == [431]


@pytest.mark.parametrize("where", ["extension", "trailer"])
@pytest.mark.parametrize("step", [500, 60_000])
async def test_chunk_extensions_and_trailers_are_bounded(door: Door, where: str, step: int) -> None:
    wire = door.connect()
    start = b"5;" if where == "extension" else b"5\r\nhello\r\n0\r\nX: "
    wire.feed(POST + CHUNKED, start, *[b"y" * step] * (30_000 // step + 1))
    assert [served.told for served in door.served] == [["start", 400]]


async def test_small_extensions_add_up(door: Door) -> None:
    wire = door.connect()
    wire.feed(POST + CHUNKED)
    for _ in range(300):
        wire.feed(b"1;" + b"y" * 100 + b"\r\nx\r\n")
    assert [served.told for served in door.served] == [["start", 400]]


async def test_an_unread_body_that_is_short_is_read_and_the_connection_kept(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(post(b"x" * 60_000)[:-1000])
    door.served[0].answer(401)
    assert not wire.eof
    wire.feed(b"x" * 1000 + GET)
    door.served[1].answer()
    assert Answers(wire.sent).statuses == [401, 200]


async def test_a_long_or_unknown_rest_closes_but_so_that_the_answer_is_read(door: Door) -> None:
    door.at_once = False
    expecting = post(b"x" * 100, b"Expect: 100-continue\r\n")[:-100]
    for start in (post(b"x" * 200_000)[:-150_000], POST + CHUNKED + b"5\r\nhe", expecting):
        door.served.clear()
        wire = door.connect()
        wire.feed(start)
        door.served[0].answer(401)
        assert Answers(wire.sent).headers[0]["connection"] == "close"
        assert wire.eof and not wire.closed, "our end is closed, theirs is still read"
        wire.feed(b"x" * 500_000)
        assert not wire.closed
        wire.feed(b"x" * 600_000)
        assert wire.aborted, "a megabyte is enough"
        await turns()


async def test_an_answer_that_broke_is_cut(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(GET)
    door.served[0].client.cut(hard=False)
    assert wire.closed and not wire.aborted
    wire = door.connect()
    wire.feed(GET)
    door.served[1].client.cut(hard=True)
    assert wire.aborted
    assert wire.sock.options, "with a reset, or it would look like the end"


async def waiting(wire: Wire, seconds: float = 2.0) -> None:
    async with asyncio.timeout(seconds):
        while not wire.closed and not wire.eof:  # noqa: ASYNC110 - a transport has no event
            await asyncio.sleep(0.002)


async def test_an_idle_connection_is_closed() -> None:
    door = Door(make_settings(keepalive_timeout=SOON))
    fresh, used = door.connect(), door.connect()
    used.feed(GET)
    await waiting(fresh)
    await waiting(used)
    assert fresh.sent == b""
    assert Answers(used.sent).statuses == [200]


async def test_a_slow_head_is_refused() -> None:
    door = Door(make_settings(head_timeout=SOON))
    wire = door.connect()
    wire.feed(GET[:-2])
    await waiting(wire)
    assert Answers(wire.sent).statuses == [408]


async def test_a_head_that_trickles_is_refused_as_well() -> None:
    door = Door(make_settings(head_timeout=0.05))
    wire = door.connect()
    async with asyncio.timeout(1):
        for byte in GET[:-4]:
            wire.feed(bytes([byte]))
            if wire.sent:
                break
            await asyncio.sleep(0.01)
    assert Answers(wire.sent).statuses == [408]


async def test_what_a_handler_expects_is_told_to_it() -> None:
    door = Door(make_settings())
    door.at_once = False
    wire = door.connect()
    wire.feed(post(b"hello")[:-1])
    served = door.served[0]
    served.client.expect(Phase.UPSTREAM, 100)
    served.client.expect(Phase.UPSTREAM, SOON)
    async with asyncio.timeout(2):
        while Phase.UPSTREAM not in served.told:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.002)
    served.client.expect(Phase.BODY, SOON)
    await waiting(wire)
    assert served.told == ["start", Phase.UPSTREAM, Phase.BODY]


async def test_a_connection_without_a_request_can_be_closed(door: Door) -> None:
    door.at_once = False
    idle, partial, busy = door.connect(), door.connect(), door.connect()
    partial.feed(GET[:5])
    busy.feed(GET)
    for wire in (idle, partial, busy):
        client: Any = wire.protocol
        client.close_if_idle()
    assert (idle.closed, partial.closed, busy.closed) == (True, False, False)


async def test_the_end_of_the_process_ends_the_answer(door: Door) -> None:
    door.at_once = False
    wire = door.connect()
    wire.feed(GET)
    door.served[0].client.shut_down()
    assert door.served[0].told == ["start", "shut down"]
    assert wire.closed


async def test_a_fault_of_ours_ends_one_connection_and_is_logged(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, other = door.connect(), door.connect()

    def fail(*_: Any) -> Any:
        raise RuntimeError("oh no")

    with monkeypatch.context() as patch:
        patch.setattr(door, "open", fail)
        wire.feed(GET)
    assert wire.aborted
    assert "oh no" in caplog.text
    other.feed(GET)
    assert Answers(other.sent).statuses == [200]
