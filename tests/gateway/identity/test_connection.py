"""Who may come in, and who is asking: truth tables."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import Fields, read
from nanogpt_proxy.gateway.identity import ConnectionTokens, who
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


@pytest.mark.parametrize(
    ("sent", "email"),
    [
        ("alice@example.com", "alice@example.com"),
        ("Alice@EXAMPLE.com", "alice@example.com"),
        ("  alice@example.com\t", "alice@example.com"),
        ("älice@exämple.com", "älice@exämple.com"),
        ("ÄLICE@example.com", "Älice@example.com"),
    ],
)
def test_the_email_is_taken_in_its_canonical_form(sent: str, email: str) -> None:
    assert who(read([(b"X-OpenWebUI-User-Email", sent.encode())])) == email


@pytest.mark.parametrize("value", [None, b"", b"  ", b"\t"])
def test_a_missing_identity_names_the_setting_of_open_webui(value: bytes | None) -> None:
    sent = [] if value is None else [(b"x-openwebui-user-email", value)]
    with pytest.raises(Refusal) as caught:
        who(read(sent))
    assert (caught.value.status, caught.value.code) == (401, "identity_missing")
    assert "ENABLE_FORWARD_USER_INFO_HEADERS=true" in caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        b"alice",
        b"@example.com",
        b"alice@",
        b"a@b@c",
        b"alice@example.com, bob@example.com",
        b"alice @example.com",
        b"alice@exam\x00ple.com",
        b"alice@exam\xffple.com",
        b"\xc0\xaflice@example.com",
        b"a" * 400 + b"@example.com",
        "alice@example.com\u2028".encode() + b"x",
    ],
)
def test_what_is_no_email_is_refused(value: bytes) -> None:
    for _ in range(2):  # a refusal is not remembered as an answer
        with pytest.raises(Refusal) as caught:
            who({b"x-openwebui-user-email": value})
        assert (caught.value.status, caught.value.code) == (401, "identity_invalid")


def test_other_identity_headers_alone_say_nothing() -> None:
    others = [(b"x-openwebui-user-id", b"1"), (b"x-openwebui-user-jwt", b"e30.e30.sig")]
    with pytest.raises(Refusal) as caught:
        who(read(others))
    assert caught.value.code == "identity_missing"
