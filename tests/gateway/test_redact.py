"""What of a JSON body goes up: all of it, byte for byte, but the members that name somebody."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import json_body
from nanogpt_proxy.gateway.json_body import AT_ONCE
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.members import IDENTITY, ONCE
from nanogpt_proxy.gateway.redact import _is_suspect, redact, redact_large

NAMES = sorted(IDENTITY)
CANARY = b"canary-4711"


def large(body: bytes, tag: bytes | None = None) -> bytes:
    return asyncio.run(redact_large(Judge(), body, tag))


def small(body: bytes, tag: bytes | None = None) -> bytes:
    clean = redact(body, tag)
    return large(body, tag) if clean is None else clean


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "_STEP", 40)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_cut_in_every_spelling(name: str) -> None:
    spellings = [
        name,
        "".join(f"\\u{ord(c):04x}" for c in name),
        "".join(f"\\u{ord(c):04X}" for c in name),
        f"\\u{ord(name[0]):04x}{name[1:]}",
        f"{name[:-1]}\\u{ord(name[-1]):04X}",
    ]
    for spelling in spellings:
        for value in (b'"canary-4711"', b'{"user":["canary-4711"]}', b'["canary-4711",{}]'):
            member = b'"%b" \t\r\n: %b' % (spelling.encode(), value)
            for body in (
                b"{%b}" % member,
                b'{%b , "a":1}' % member,
                b'{ "a":1 , %b }' % member,
                b'{"a":1,%b,"b":2,%b}' % (member, member),
            ):
                for cut in (small, large):
                    left = cut(body)
                    assert CANARY not in left
                    assert set(json.loads(left)) <= {"a", "b"}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"m","messages":[{"user":"x","metadata":{"user":1},"model":"n","stream":1}]}',
        b'{"tools":[{"parameters":{"properties":{"user":{"type":"string"},"trace":{}}}}]}',
        rb'{"messages":[{"content":"{\"user\":\"x\"}"},{"content":"\"user\": "}]}',
        b'{"previous_response_id":"r","character_id":"c","conversation":{"id":"x"}}',
        b'{"User":1,"user_":1,"users":1," user":1,"Metadata":1,"stream_options":1}',
        b'{"a":"user","user ":{"user":[{"user":{}}]}}',
        b'{"n":123456789012345678901234567890.000000000000000000001e-400}',
        rb'{"s":"\ud800 \udc00\ud800","\ud800":"\u0041\u0075ser"}',
        b'{"a":' + b"[" * 3000 + b'{"user":1}' + b"]" * 3000 + b"}",
        b'{"a":' * 3000 + b'{"user":1}' + b"}" * 3000,
    ],
)
def test_all_else_goes_up_as_it_came(body: bytes) -> None:
    assert small(body) == body
    assert large(body) == body


@pytest.mark.parametrize("name", ["model", "stream"])
def test_a_member_that_decides_occurs_once(name: str) -> None:
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    for second in (name, escaped):
        body = f'{{"{name}":"a","messages":[],"{second}":"b"}}'.encode()
        for cut in (small, large):
            with pytest.raises(Refusal) as caught:
                cut(body)
            assert (caught.value.status, caught.value.code) == (400, "ambiguous_body")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"user":1', b'{"user":NaN}', b'{"user":1,}', b'{"user":"\xff"}', b"{}x"]
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    for cut in (small, large):
        with pytest.raises(Refusal) as caught:
            cut(body)
        assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_an_ordinary_body_is_not_looked_into() -> None:
    body = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": 'the "user": says \u00e9, "trace" <b>'}],
    }
    for ascii_only in (True, False):
        assert not _is_suspect(json.dumps(body, ensure_ascii=ascii_only).encode())


def test_what_would_take_long_is_left_for_later() -> None:
    filling = b'"x":"' + b"x" * json_body.SCAN_AT_ONCE + b'"'
    for body in (b'{%b,"user":1}' % filling, b'{%b,"a":"%b"}' % (filling, b"x" * AT_ONCE)):
        assert redact(body) is None
    quotes = b'{"a":[%b"",""]}' % (b'"",' * 60_000)
    assert redact(quotes) is None and large(quotes) == quotes
    assert redact(b"{%b}" % filling) is not None


@pytest.mark.parametrize("cut", [small, large])
def test_a_tag_takes_the_place_of_the_user(cut: Any) -> None:
    assert cut(b' { "user":"x", "a":1}', b"t") == b' {"user":"t",  "a":1}'
    assert cut(b'{"a":1}', b"t") == b'{"user":"t","a":1}'
    assert cut(b"{}", b"t") == b'{"user":"t"}'
    assert cut(b'{"user":1,"trace":2 }', b"t") == b'{"user":"t"}'


strings = st.text(st.characters(exclude_categories=()), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | strings,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | strings, inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from([*NAMES, "role", "User", "users", "conversation"]) | strings
space = st.text(" \t\r\n", max_size=3)


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    if draw(st.booleans()):
        return json.dumps(name, ensure_ascii=draw(st.booleans()))
    pieces = []
    for char in name.encode("utf-16-be", "surrogatepass").hex(" ", 2).split():
        plain = chr(int(char, 16))
        if draw(st.booleans()) or not plain.isascii() or not plain.isalnum():
            pieces.append("\\u" + (char if draw(st.booleans()) else char.upper()))
        else:
            pieces.append(plain)
    return '"' + "".join(pieces) + '"'


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Objects as somebody may write them."""
    members = []
    for name, value in draw(st.lists(st.tuples(keys, values), max_size=6)):
        if name in ONCE:
            continue
        text = json.dumps(value, ensure_ascii=draw(st.booleans())).replace("Infinity", "1e999")
        around = [draw(space) for _ in range(4)]
        key = draw(spelled(name))
        members.append(f"{around[0]}{key}{around[1]}:{around[2]}{text}{around[3]}")
    body = draw(space) + "{" + (",".join(members) or draw(space)) + "}" + draw(space)
    return body.encode("utf-8", "replace")  # bare surrogates are no UTF-8


def _flat(text: bytes) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = json.loads(
        text, object_pairs_hook=list, parse_int=str, parse_float=str
    )
    return found


def _is_subsequence(left: bytes, body: bytes) -> bool:
    rest = iter(body)
    return all(byte in rest for byte in left)


@settings(max_examples=200, deadline=None)
@given(bodies())
def test_what_is_left_is_what_json_says_without_the_names(body: bytes) -> None:
    expected = [pair for pair in _flat(body) if pair[0] not in IDENTITY]
    for cut in (small, large):
        left = cut(body)
        assert _flat(left) == expected
        assert _is_subsequence(left, body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_STEP", 40)
        if not re.search(rb"[\d.eE+-]{39}", body):  # a number as long as a step is refused
            assert large(body) == small(body)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("before", range(42))
def test_it_does_not_matter_where_a_step_ends(before: int) -> None:
    body = rb'{"a":[1,{"user":2}],"\u0075ser":{"b":[]},"c":"x", "trace" : 1,"metadata":{} }'
    assert large(b" " * before + body) == b" " * before + b'{"a":[1,{"user":2}],"c":"x" }'
