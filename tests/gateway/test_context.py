"""What all exchanges share."""

from __future__ import annotations

import re

from nanogpt_proxy.models import Secret
from tests.gateway.conftest import KEY, Gateway, make_settings


async def test_request_ids_are_words_that_do_not_repeat() -> None:
    one, other = Gateway(make_settings()), Gateway(make_settings())
    ids = [gateway.context.next_id() for gateway in (one, other) for _ in range(100)]
    assert len(set(ids)) == 200
    # The pattern that NanoGPT gives for ids of its own.
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", text) for text in ids)


async def test_it_shows_no_secret() -> None:
    gateway = Gateway(make_settings(https_proxy=Secret("http://u:hidden@proxy:1")))
    shown = repr(gateway.context)
    assert not any(secret in shown for secret in (KEY, gateway.TOKEN, "hidden"))
