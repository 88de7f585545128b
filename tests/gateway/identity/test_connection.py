"""Who may come in: a truth table."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import Fields
from nanogpt_proxy.gateway.identity import ConnectionTokens
from nanogpt_proxy.models import Secret

TOKEN = "npt-0123456789abcdef"
OTHER = "npt-fedcba9876543210"
TOKENS = ConnectionTokens([Secret(TOKEN), Secret(OTHER)])
NO_TOKEN, WRONG_TOKEN = "connection_token_missing", "connection_token_wrong"


def fields(**named: str) -> Fields:
    return {name.replace("_", "-").encode(): value.encode() for name, value in named.items()}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, None),
        ({"authorization": f"bearer {TOKEN}"}, None),
        ({"authorization": f"BEARER   {TOKEN}"}, None),
        ({"authorization": f"Bearer {OTHER}"}, None),
        ({"x_api_key": TOKEN}, None),
        ({"x_api_key": OTHER}, None),
        ({"authorization": f"Bearer {TOKEN}", "x_api_key": "wrong"}, None),
        ({}, NO_TOKEN),
        ({"x_openwebui_user_email": "alice@example.com"}, NO_TOKEN),
        ({"authorization": "Bearer"}, WRONG_TOKEN),
        ({"authorization": TOKEN}, WRONG_TOKEN),
        ({"authorization": f"Basic {TOKEN}"}, WRONG_TOKEN),
        ({"authorization": f"Bearer {TOKEN}x"}, WRONG_TOKEN),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, WRONG_TOKEN),
        ({"authorization": f"Bearer {TOKEN.upper()}"}, WRONG_TOKEN),
        ({"authorization": f"Bearer {TOKEN},{OTHER}"}, WRONG_TOKEN),
        ({"authorization": f"Bearer {TOKEN} {TOKEN}"}, WRONG_TOKEN),
        ({"x_api_key": f"Bearer {TOKEN}"}, WRONG_TOKEN),
        ({"authorization": "Bearer wrong", "x_api_key": TOKEN}, WRONG_TOKEN),
        ({"authorization": "Basic x", "x_api_key": TOKEN}, WRONG_TOKEN),
    ],
)
def test_the_token_opens_the_gateway(sent: dict[str, str], code: str | None) -> None:
    if code is None:
        TOKENS.check(fields(**sent))
        return
    with pytest.raises(Refusal) as caught:
        TOKENS.check(fields(**sent))
    assert (caught.value.status, caught.value.code) == (401, code)
    assert ("www-authenticate", "Bearer") in caught.value.headers
    assert TOKEN not in caught.value.message


def test_no_token_at_all_lets_nobody_in() -> None:
    with pytest.raises(Refusal):
        ConnectionTokens([]).check(fields(authorization="Bearer "))


def test_every_token_is_compared_by_digests_of_one_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    TOKENS.check(fields(authorization=f"Bearer {TOKEN}"))
    assert [a == b for a, b in seen] == [True, False], "the second is compared all the same"
    with pytest.raises(Refusal):
        TOKENS.check(fields(authorization="Bearer x"))
    assert len({len(digest) for pair in seen for digest in pair}) == 1
    assert not any(TOKEN.encode() in digest for pair in seen for digest in pair)


@given(st.binary(max_size=60))
def test_no_other_bytes_open_it(value: bytes) -> None:
    for sent in (
        {b"authorization": value},
        {b"x-api-key": value},
        {b"authorization": b"B " + value},
    ):
        with pytest.raises(Refusal):
            TOKENS.check(sent)
