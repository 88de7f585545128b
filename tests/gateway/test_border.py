"""Which way a body goes; what becomes of it there is told by the tests of those ways."""

from __future__ import annotations

import re
from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.border import cross
from nanogpt_proxy.gateway.json_body import AT_ONCE
from nanogpt_proxy.gateway.routes import Body, match
from nanogpt_proxy.gateway.server import Request
from tests.gateway.conftest import CLOSING, OPENING, Gateway, make_settings

LONG = b"x" * AT_ONCE
TAGGED = re.compile(rb'\{"user":"[0-9a-f]{32}","a":[1"]\}?')


def crossed(
    body: bytes, kind: Body = Body.JSON, tag: str = "off", path: bytes = b"/v1/embeddings"
) -> Any:
    gateway = Gateway(make_settings(user_tag=tag))
    request = Request()
    request.fields = {b"content-type": b"multipart/form-data; boundary=b"}
    account = gateway.people.known[gateway.EMAIL]
    return cross(body, kind, gateway.context, match(b"POST", path), account, request)


async def test_json_is_cut_and_tagged_at_once() -> None:
    assert crossed(b'{"user":"x","a":1}') == b'{"a":1}'
    assert TAGGED.fullmatch(crossed(b'{"user":"x","a":1}', tag="hmac"))


async def test_only_where_nanogpt_knows_a_user_it_is_tagged() -> None:
    for path in (b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/audio/speech"):
        assert crossed(b'{"user":"x","a":1}', tag="hmac", path=path) == b'{"a":1}'
    for path in (b"/v1/chat/completions", b"/v1/responses", b"/v1/images/generations"):
        assert TAGGED.fullmatch(crossed(b'{"user":"x","a":1}', tag="hmac", path=path))


async def test_long_json_is_cut_and_tagged_in_time() -> None:
    body = b'{"user":"x","a":"%b"}' % LONG
    assert await crossed(body)() == b'{"a":"%b"}' % LONG
    assert TAGGED.match(await crossed(body, tag="hmac")())


async def test_an_upload_is_filtered_and_never_tagged() -> None:
    user = OPENING.replace(b"file", b"user") + b"alice\r\n"
    assert crossed(user + OPENING + CLOSING, Body.UPLOAD, "hmac") == OPENING + CLOSING


@pytest.mark.parametrize("kind", [Body.JSON, Body.UPLOAD])
async def test_what_is_neither_is_refused(kind: Body) -> None:
    with pytest.raises(Refusal) as caught:
        crossed(b"hello", kind)
    assert caught.value.status == 400
