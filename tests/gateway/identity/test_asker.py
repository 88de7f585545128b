"""What a user of Open WebUI can be called."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import InvalidEmail
from nanogpt_proxy.gateway.identity.asker import Asker, asker, unauthorised


def test_the_email_is_canonical_and_the_rest_as_sent() -> None:
    assert asker(" Zoë@Example.COM ", "Id-1", "Admin") == Asker("zoë@example.com", "Id-1", "Admin")
    assert asker("a@b", None, None) == Asker("a@b", None, None)


BAD = ["", " ", "a\nb", "a\x00", "\x7f", "a\u2028b", "x" * 256]


@pytest.mark.parametrize("text", BAD)
def test_an_id_and_a_role_are_words(text: str) -> None:
    with pytest.raises(ValueError):
        asker("a@b", text, "user")
    with pytest.raises(ValueError):
        asker("a@b", "1", text)


@pytest.mark.parametrize("email", ["", "a", "a@b\r\n", "\ta@b", "a@b\r\nX: y", "a@b@c"])
def test_an_email_holds_no_line_ends_not_even_around_it(email: str) -> None:
    with pytest.raises(InvalidEmail):
        asker(email, "1", "user")


def test_a_refusal_asks_for_credentials() -> None:
    refusal = unauthorised("some_code", "Some sentence.")
    assert (refusal.status, refusal.code) == (401, "some_code")
    assert refusal.headers == (("www-authenticate", "Bearer"),)
