"""How streams end: told complete or not, and broken off in their own protocol."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.endings import StreamTail, error_event
from nanogpt_proxy.gateway.routes import Dialect

REFUSAL = Refusal(502, "upstream_disconnected", "NanoGPT closed — too early.", kind="api_error")
EVENT = b'data: {"delta":"x"}\n\n'
DONE = b"data: [DONE]\n\n"
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def tail(dialect: Dialect, *pieces: bytes) -> StreamTail:
    stream = StreamTail(dialect)
    for piece in pieces:
        stream.feed(piece)
    return stream


def frames(text: bytes) -> list[tuple[str, str]]:
    """(event, data) as an SSE client reads them: the rest without an empty line is not one."""
    found = []
    for block in re.split(r"\n\n|\r\n\r\n|\r\r", text.decode())[:-1]:
        event, data = "message", []
        for line in re.split(r"\r\n|\n|\r", block):
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data":
                data.append(value.removeprefix(" "))
        found.append((event, "\n".join(data)))
    return found


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.RESPONSES, Dialect.PLAIN])
@pytest.mark.parametrize(
    "ending",
    [DONE, b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\r", b"data: [DONE]"],
)
def test_done_ends_a_stream(dialect: Dialect, ending: bytes) -> None:
    assert tail(dialect, EVENT, ending).complete()
    assert tail(dialect, ending).complete()


@pytest.mark.parametrize(
    "ending",
    [
        b"",
        EVENT,
        EVENT + b": keep-alive\n\n",
        b'data: {"delta":"data: [DONE]"}\n\n',
        b"data: [DONE]x\n\n",
        b"xdata: [DONE]\n\n",
        DONE + EVENT,
        STOP,
    ],
)
def test_without_it_the_stream_is_not_complete(ending: bytes) -> None:
    assert not tail(Dialect.CHAT, EVENT, ending).complete()


@pytest.mark.parametrize(
    "ending",
    [
        STOP,
        STOP.replace(b"\n", b"\r\n"),
        STOP.replace(b"\n", b"\r"),
        b'event: message_stop\ndata: {"type": "message_stop"}',
        b'data: {"type":"message_stop"}\n\n',
        b"event:message_stop\ndata: {}\n\n",
        b'event: message_stop\ndata: {"type":"message_stop","metrics":{"a":1}}\n\n',
    ],
)
def test_message_stop_ends_a_stream_of_messages(ending: bytes) -> None:
    assert tail(Dialect.MESSAGES, EVENT, ending).complete()


@pytest.mark.parametrize(
    "ending",
    [
        b"",
        DONE,
        b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n',
        b'data: {"text":"\\"type\\":\\"message_stop\\""}\n\n',
        b"data: event: message_stop\n\n",
        STOP + EVENT,
        b"event: message_stopped\n\n",
    ],
)
def test_without_it_messages_are_not_complete(ending: bytes) -> None:
    assert not tail(Dialect.MESSAGES, EVENT, ending).complete()


@pytest.mark.parametrize(
    ("text", "between"),
    [
        (b"", True),
        (b"data: a\n\n", True),
        (b"data: a\r\n\r\n", True),
        (b"data: a\r\r", True),
        (b"data: a\n\r\n", True),
        (b"data: a\r\n\n", True),
        (b"data: a\n", False),
        (b"data: a\r\n", False),
        (b"data: a\r", False),
        (b"data: a", False),
        (b"data: a\n\ndata", False),
    ],
)
def test_it_knows_whether_an_event_was_cut(text: bytes, between: bool) -> None:
    assert tail(Dialect.CHAT, text).between_events() is between
    assert tail(Dialect.CHAT, *(bytes([byte]) for byte in text)).between_events() is between
    gap = tail(Dialect.CHAT, text).broken_ending(REFUSAL).startswith(b"\n\n")
    assert gap is not between


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.PLAIN])
def test_chat_ends_with_an_error_frame_and_done(dialect: Dialect) -> None:
    (kind, data), last = frames(error_event(REFUSAL, dialect))
    assert (kind, last) == ("message", ("message", "[DONE]"))
    assert json.loads(data) == {
        "error": {
            "message": "NanoGPT closed — too early.",
            "type": "api_error",
            "param": None,
            "code": "upstream_disconnected",
        }
    }


def test_messages_end_with_an_error_event_and_no_done() -> None:
    ((kind, data),) = frames(error_event(REFUSAL, Dialect.MESSAGES))
    assert kind == "error"
    said = json.loads(data)
    assert said["type"] == "error"
    assert said["error"]["type"] == "api_error"
    assert said["error"]["message"] == "NanoGPT closed — too early."


def test_responses_end_with_an_error_event_and_done() -> None:
    (kind, data), last = frames(error_event(REFUSAL, Dialect.RESPONSES))
    assert (kind, last) == ("error", ("message", "[DONE]"))
    said = json.loads(data)
    assert (said["type"], said["code"]) == ("error", "upstream_disconnected")
    assert said["message"] == "NanoGPT closed — too early."


@pytest.mark.parametrize(
    "cut", [b'event: content_block_delta\ndata: {"ty', b"event: mess", b"data:"]
)
def test_a_cut_event_of_messages_is_one_that_clients_skip(cut: bytes) -> None:
    text = EVENT + cut
    first, skipped, error = frames(text + tail(Dialect.MESSAGES, text).broken_ending(REFUSAL))
    assert first[0] == "message"
    assert (skipped[0], error[0]) == ("ping", "error")


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_stream_that_was_complete_gets_no_error(dialect: Dialect) -> None:
    ending = STOP if dialect is Dialect.MESSAGES else DONE
    assert tail(dialect, EVENT, ending).broken_ending(REFUSAL) == b""
    cut = ending.rstrip(b"\n")
    assert tail(dialect, EVENT, cut).broken_ending(REFUSAL).strip() == b""


@given(
    st.lists(st.sampled_from([EVENT, EVENT.replace(b"\n", b"\r\n"), b": ping\n\n"]), max_size=4),
    st.binary(max_size=600),
    st.sampled_from(list(Dialect)),
    st.data(),
)
def test_the_error_is_always_an_event_of_its_own(
    before: list[bytes], cut: bytes, dialect: Dialect, data: st.DataObject
) -> None:
    text = b"".join(before) + cut.replace(b"[DONE]", b"").replace(b"message_stop", b"")
    split = data.draw(st.integers(0, len(text)))
    stream = tail(dialect, text[:split], text[split:])
    ending = stream.broken_ending(REFUSAL)
    assert stream.broken_ending(REFUSAL) == tail(dialect, text).broken_ending(REFUSAL)
    expected = frames(error_event(REFUSAL, dialect))
    assert frames((text + ending).decode("latin-1").encode())[-len(expected) :] == [
        (kind, said.encode().decode("latin-1")) for kind, said in expected
    ]


@given(st.lists(st.binary(max_size=700), max_size=5))
def test_only_a_little_of_a_stream_is_kept(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    stream = tail(Dialect.CHAT, *pieces)
    assert stream._tail == whole[-512:]
