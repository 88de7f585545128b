"""The plain headers: what they name, and what is no name."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import read
from nanogpt_proxy.gateway.identity.plain import read as identify


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
    assert identify(read([(b"X-OpenWebUI-User-Email", sent.encode())])).email == email


@pytest.mark.parametrize("value", [None, b"", b"  ", b"\t"])
def test_a_missing_identity_names_the_setting_of_open_webui(value: bytes | None) -> None:
    sent = [] if value is None else [(b"x-openwebui-user-email", value)]
    with pytest.raises(Refusal) as caught:
        identify(read(sent))
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
            identify({b"x-openwebui-user-email": value})
        assert (caught.value.status, caught.value.code) == (401, "identity_invalid")
