"""Which way a body goes; what becomes of it there is told by the tests of those ways."""

from __future__ import annotations

from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.border import cross
from nanogpt_proxy.gateway.json_body import AT_ONCE, Judge
from nanogpt_proxy.gateway.routes import Body
from nanogpt_proxy.gateway.server import Request
from tests.gateway.conftest import CLOSING, OPENING

LONG = b"x" * AT_ONCE


def crossed(body: bytes, kind: Body = Body.JSON, tag: bytes | None = None) -> Any:
    request = Request()
    request.fields = {b"content-type": b"multipart/form-data; boundary=b"}
    return cross(body, kind, request, Judge(), tag)


def test_json_is_cut_and_tagged_at_once() -> None:
    assert crossed(b'{"user":"x","a":1}') == b'{"a":1}'
    assert crossed(b'{"user":"x","a":1}', tag=b"t") == b'{"user":"t","a":1}'


async def test_long_json_is_cut_and_tagged_in_time() -> None:
    body = b'{"user":"x","a":"%b"}' % LONG
    assert await crossed(body)() == b'{"a":"%b"}' % LONG
    assert await crossed(body, tag=b"t")() == b'{"user":"t","a":"%b"}' % LONG


def test_an_upload_is_filtered_and_never_tagged() -> None:
    user = OPENING.replace(b"file", b"user") + b"alice\r\n"
    assert crossed(user + OPENING + CLOSING, Body.UPLOAD, b"t") == OPENING + CLOSING


@pytest.mark.parametrize("kind", [Body.JSON, Body.UPLOAD])
def test_what_is_neither_is_refused(kind: Body) -> None:
    with pytest.raises(Refusal) as caught:
        crossed(b"hello", kind)
    assert caught.value.status == 400
