"""Where a body is cut, told member by member."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.members import IDENTITY, Members

BODY = b'{"a":1,"user":2,"trace":3}'


def told(body: bytes, members: Members) -> bytes:
    """As the scanner tells it, for bodies without nesting or commas in strings."""
    at = 1
    for text in body[1:-1].split(b","):
        members.named(body, at, at + text.index(b":"))
        at += len(text) + 1
        members.ended(at - 1, last=at == len(body))
    return members.without(body)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (b'{"a":1}', b'{"a":1}'),
        (b'{"user":1}', b"{}"),
        (b'{"user":1,"user":2}', b"{}"),
        (b'{"user":1,"a":1}', b'{"a":1}'),
        (b'{"a":1,"user":1}', b'{"a":1}'),
        (BODY, b'{"a":1}'),
        (b'{"user":2,"a":1,"trace":3}', b'{"a":1}'),
        (b'{"a":1,"user":2,"b":1,"trace":3,"c":3}', b'{"a":1,"b":1,"c":3}'),
        (rb'{"\u0075ser":1,"a":1}', b'{"a":1}'),
        (rb'{"\u0055ser":1,"\u0000":1}', rb'{"\u0055ser":1,"\u0000":1}'),
    ],
)
def test_members_go_with_their_comma(body: bytes, left: bytes) -> None:
    assert told(body, Members()) == left


def test_it_tells_whether_anything_stays() -> None:
    kept = []
    for body in (b'{"user":1}', b'{"user":1,"a":1}', b'{"a":1}'):
        members = Members()
        told(body, members)
        kept.append(members.kept)
    assert kept == [False, True, True]


def test_names_in_other_letters_are_other_names() -> None:
    for name in IDENTITY:
        body = b'{"%b":1}' % name.upper().encode()
        assert told(body, Members()) == body


@pytest.mark.parametrize("name", [b'"model"', rb'"str\u0065am"'])
def test_what_decides_occurs_once(name: bytes) -> None:
    body = b'{%b:1,"a":2,"%b":3}' % (name, b"model" if b"model" in name else b"stream")
    with pytest.raises(Refusal) as caught:
        told(body, Members())
    assert (caught.value.status, caught.value.code) == (400, "ambiguous_body")


def test_cuts_without_number_are_refused() -> None:
    body = b'{"a":0' + b',"user":1' * 300 + b"}"
    with pytest.raises(Refusal) as caught:
        told(body, Members())
    assert (caught.value.status, caught.value.code) == (400, "ambiguous_body")
