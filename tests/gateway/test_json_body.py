"""Whether a body is one JSON object: as strict as the RFC, and never for long at one time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import json_body
from nanogpt_proxy.gateway.json_body import Scanner, check

SMALL_STEP = 32  # bytes; no token of the grammar but strings and numbers is longer


def scan(body: bytes) -> None:
    scanner = Scanner(body)
    while scanner.step():
        pass


def at_once(body: bytes) -> None:
    """As the exchange does it: what is not judged at once goes to the scanner."""
    if not check(body):
        scan(body)


def accepts(judge: Callable[[bytes], None], body: bytes) -> bool:
    try:
        judge(body)
    except Refusal as refused:
        assert (refused.status, refused.code) == (400, "invalid_json")
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def expected(body: bytes) -> bool:
    """What the standard library says, without what it lets pass beyond RFC 8259."""
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "_STEP", SMALL_STEP)


GOOD = [
    b"{}",
    b" \t\r\n{ \t\r\n} \t\r\n",
    b'{"a":1}',
    b'{"a":[],"b":{},"c":[[]],"d":[{}],"e":null,"f":true,"g":false}',
    b'{"a":-0,"b":0.5,"c":1e9,"d":-1.25E-10,"e":1E+2,"f":0e0}',
    b'{"":""}',
    b'{"a":1,"a":2}',
    b'{"a":"' + rb"\"\\\/\b\f\n\r\t\u0041\uD83D\uDE00\uabCD" + b'"}',
    rb'{"lone":"\ud800","swapped":"\ude00\ud83d","\udfff":0}',
    '{"é":"日本語 😀 \u2028 \x7f"}'.encode(),
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":1' + b"0" * 400 + b".5e-1000}",
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":' * 5000 + b"{}" + b"}" * 5000,
    b'{"a":' + b'[{"b":' * 3000 + b"1" + b"}]" * 3000 + b"}",
    b'{"a":[1 , 2 ,\n[ 3 , { "x" : [ 4 , [ 5 , [ 6 ] ] ] } ] ] , "b" : { "c" : { "d" : {} } } }',
    b'{"a":"' + b"x" * 300 + b'","' + b"k" * 300 + b'":' + b" " * 300 + b"1}",
]
BAD = [
    b"",
    b" ",
    b"[]",
    b"1",
    b"null",
    b'"a"',
    b"{",
    b"}",
    b"{}}",
    b"{}{}",
    b"{} x",
    b"{},",
    b"{,}",
    b"{1:2}",
    b"{a:1}",
    b"{'a':1}",
    b'{"a"}',
    b'{"a":}',
    b'{"a" 1}',
    b'{"a":1,}',
    b'{"a":1,,"b":2}',
    b'{"a":1 "b":2}',
    b'{"a":[1,]}',
    b'{"a":[,1]}',
    b'{"a":[1 2]}',
    b'{"a":[1}',
    b'{"a":[1}]',
    b'{"a":{"b":1]}',
    b'{"a":[[]}',
    b'{"a":[]]}',
    b'{"a":[[]]]}',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":nan}',
    b'{"a":True}',
    b'{"a":nul}',
    b'{"a":truefalse}',
    b'{"a":01}',
    b'{"a":-}',
    b'{"a":-01}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":1.}',
    b'{"a":1e}',
    b'{"a":1e+}',
    b'{"a":0x1}',
    b'{"a":1_000}',
    b'{"a":"}',
    b'{"a":"\\"}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u12G4"}',
    b'{"a":"\\',
    b'{"a":"\n"}',
    b'{"a":"\x00"}',
    b'{"a":"\x1f"}',
    b'{"a\t":1}',
    b'{"a":1}\x00',
    b'{"a":1/* */}',
    b"\xef\xbb\xbf{}",
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-le"),
    '{"a":1}'.encode("utf-32-be"),
    b'{"a":"\xff"}',
    b'{"a":"\xc0\x80"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}',
    b'{"a":"\xe2\x82"}',
    b'{"a":1}\xe2\x82',
    b"\x0b{}",
    b"{\xa0}",
    b'{"a":\xc2\xa01}',
    b'{"a":' + b"[" * 5000 + b"]" * 4999 + b"}",
    b'{"a":' + b"[" * 5000 + b"]" * 5001 + b"}",
    b'{"a":' * 5000 + b"{}" + b"}" * 4999,
]


@pytest.mark.parametrize("judge", [at_once, scan])
@pytest.mark.parametrize("body", GOOD, ids=range(len(GOOD)))
def test_what_is_one_object_is_taken(judge: Callable[[bytes], None], body: bytes) -> None:
    assert accepts(judge, body)


@pytest.mark.parametrize("judge", [at_once, scan])
@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_not_is_refused(judge: Callable[[bytes], None], body: bytes) -> None:
    assert not accepts(judge, body)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("before", range(SMALL_STEP + 2))
def test_it_does_not_matter_where_a_step_ends(before: int) -> None:
    for body in GOOD:
        if len(body) < 400:
            assert accepts(scan, b" " * before + body)
    for body in BAD:
        if len(body) < 400:
            assert not accepts(scan, b" " * before + body)


@pytest.mark.usefixtures("small_steps")
def test_a_body_cut_anywhere_is_refused() -> None:
    whole = rb'{"a":[1,-2.5e3,true,{"b":"\u00e9\\","c":[[],{}]},null],"d":{"e":"' + "é".encode()
    whole += b'"}, "f" : [ [ [ [ 1 ] ] ] ] }'
    assert accepts(scan, whole)
    for end in range(len(whole)):
        assert not accepts(scan, whole[:end])
        assert not accepts(at_once, whole[:end])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.text(max_size=40), values, max_size=6)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Objects as somebody may write them, some of them damaged."""
    value: dict[str, Any] = draw(objects)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 1, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" ,\r\n", " :\t")])),
    )
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        damage = draw(st.sampled_from(b'"\\{}[]:,0-.eEtfnu \n\x00\x1f\x80\xc3\xff'))
        match draw(st.sampled_from(["insert", "replace", "delete"])):
            case "insert":
                body.insert(at, damage)
            case "replace":
                body[at : at + 1] = bytes([damage])
            case _:
                del body[at : at + 1]
    return bytes(body)


@settings(max_examples=150)
@given(bodies())
@example(rb'{"a":"\u00' + b'"}')
def test_all_judges_agree_with_the_standard_library(body: bytes) -> None:
    verdict = expected(body)
    assert accepts(at_once, body) is verdict
    assert accepts(scan, body) is verdict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "_STEP", SMALL_STEP)
        # A number as long as a step is refused: 64 KiB of digits is nobody's number.
        if accepts(scan, body) is not verdict:
            assert verdict
            assert any(len(run) >= SMALL_STEP for run in _numbers(body))


def _numbers(body: bytes) -> list[bytes]:
    return "".join(chr(c) if chr(c) in "0123456789+-.eE" else " " for c in body).encode().split()


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*'{}[]:,"', '"a"', "1", "-", " ", "\\", "true"]), max_size=14))
def test_all_judges_agree_on_any_order_of_tokens(tokens: list[str]) -> None:
    body = b"{" + "".join(tokens).encode()
    assert accepts(at_once, body) is accepts(scan, body) is expected(body)


def test_a_number_longer_than_a_step_is_refused() -> None:
    digits = b"1" * (json_body._STEP - 1)
    assert accepts(scan, b'{"a":' + digits + b"}")
    assert not accepts(scan, b'{"a":' + digits * 2 + b"}")


def test_a_refusal_says_what_and_where_and_repeats_nothing() -> None:
    with pytest.raises(Refusal) as caught:
        check(b'{"prompt":"my secret",}')
    assert "at byte" in caught.value.message
    assert "secret" not in caught.value.message


class Watched:
    """A body's patterns, with how many bytes each call was shown."""

    NAMES = ("_space", "_inside", "_brackets", "_closing", "_bare", "_items", "_members", "_dull")

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.widest = 0
        self.shown = 0
        for name in self.NAMES:
            patch.setattr(json_body, name, self._watching(getattr(json_body, name)))

    def _watching(self, pattern: Any) -> Any:
        def match(body: bytes, start: int, end: int) -> Any:
            width = min(end, len(body)) - start
            self.widest = max(self.widest, width)
            found = pattern(body, start, end)
            self.shown += (found.end() - start) if found else 0
            return found

        return match


LARGE = {
    "a long text": b'{"messages":[{"role":"user","content":"' + b"lorem ipsum " * 30_000 + b'"}]}',
    "escapes": b'{"a":"' + rb"\u00e9\n" * 43_000 + b'"}',
    "numbers": b'{"a":[' + b"0.1234567," * 33_000 + b"1]}",
    "blanks": b" " * 166_000 + b"{" + b"\n" * 166_000 + b"}",
    "objects": b'{"a":[' + b'{"b":{"c":[1,2]}},' * 20_000 + b"1]}",
    "deep arrays": b'{"a":' + b"[" * 166_000 + b"]" * 166_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep mixture": b'{"a":' + b'[{"b":' * 40_000 + b"1" + b"}]" * 40_000 + b"}",
    "deep with siblings": b'{"a":' + b"[1,2," * 40_000 + b"3" + b"]" * 40_000 + b"}",
    "an image": b'{"image":"data:image/png;base64,' + b"iVBORw0K" * 43_000 + b'"}',
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_a_step_looks_at_a_bounded_piece(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    scanner = Scanner(body)
    widest = most = steps = 0
    while scanner.step():
        widest, watched.widest = max(widest, watched.widest), 0
        most, watched.shown = max(most, watched.shown), 0
        steps += 1
    assert widest <= json_body._STEP
    assert most <= 2 * json_body._STEP  # blanks, then one more look
    assert steps <= 3 * len(body)
