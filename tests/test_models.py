"""Canonical forms, secrets that do not show, and what an account can do."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import InvalidEmail, InvalidKey
from nanogpt_proxy.models import (
    Account,
    AccountState,
    Secret,
    StoredAccount,
    canonical_email,
    clean_key,
    is_usual_key,
    key_hint,
)

KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("typed", "email"),
    [
        ("alice@example.com", "alice@example.com"),
        ("Alice@Example.COM", "alice@example.com"),
        (" \talice@example.com\r\n", "alice@example.com"),
        ("a.l+i-c_e@x.y", "a.l+i-c_e@x.y"),
        ("alice@localhost", "alice@localhost"),
        ("ÄLICE@exämple.com", "Älice@exämple.com"),
        ("straße@x.y", "straße@x.y"),
        ("\u0130@x.y", "\u0130@x.y"),
        ("e\u0301@x.y", "e\u0301@x.y"),
        ("a" * 310 + "@x.y", "a" * 310 + "@x.y"),
    ],
)
def test_ascii_letters_alone_are_folded(typed: str, email: str) -> None:
    assert canonical_email(typed) == email


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "alice",
        "@",
        "@x.y",
        "alice@",
        "a@b@c",
        "a b@x.y",
        "alice@x.y,bob@x.y",
        "a\tb@x.y",
        "a\0b@x.y",
        "a\nb@x.y",
        "a\u00a0b@x.y",
        "a\u200bb@x.y",
        "a\u202eb@x.y",
        "\ud800@x.y",
        "a" * 320 + "@x.y",
    ],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(InvalidEmail):
        canonical_email(typed)


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_canonical_form_is_one(local: str, domain: str) -> None:
    try:
        email = canonical_email(f"{local}@{domain}")
    except InvalidEmail:
        return
    shouted = "".join(c.upper() if c.isascii() else c for c in email)
    assert canonical_email(email) == canonical_email(f" {shouted}\n") == email
    assert email.isprintable() and not any(c.isspace() or c == "," for c in email)


@pytest.mark.parametrize(
    ("typed", "usual"),
    [
        (KEY, True),
        (f"  {KEY}\n", True),
        (KEY.removeprefix("sk-nano-"), True),
        (KEY.upper().replace("SK-NANO", "sk-nano"), True),
        ("sk-abc123", False),
        (KEY + "0", False),
        ("x" * 512, False),
    ],
)
def test_keys_are_trimmed_and_known_by_their_shape(typed: str, usual: bool) -> None:
    key = clean_key(typed)
    assert key.reveal() == typed.strip()
    assert is_usual_key(key) is usual


@pytest.mark.parametrize("typed", ["", " \n", "a b", "kéy", "a\0b", "a\x7fb", "a\r\nb", "x" * 513])
def test_what_cannot_be_sent_is_no_key(typed: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        clean_key(typed)
    assert not typed.strip() or typed.strip() not in str(caught.value)


def test_a_management_token_is_told_from_a_key() -> None:
    with pytest.raises(InvalidKey) as caught:
        clean_key("sk-nano-mgmt-01234567")
    assert caught.value.hint is not None and "nano-gpt.com/api" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "hint"), [(KEY, "cdef"), ("abcdefgh1234", "1234"), ("abcdefg1234", "****")]
)
def test_a_hint_does_not_give_away_a_short_key(key: str, hint: str) -> None:
    assert key_hint(Secret(key)) == hint


def test_a_secret_does_not_show(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(KEY)
    logging.getLogger("test").warning("%s %r %s", secret, secret, {"key": secret})
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", caplog.text]
    shown += [repr([secret]), str({"a": secret}), repr(Account("1", "a@b", False, secret))]
    assert not any("sk-nano" in text or "cdef" in text for text in shown)
    for give_away in (pickle.dumps, copy.copy, json.dumps):
        with pytest.raises(TypeError):
            give_away(secret)
    assert secret.reveal() == KEY


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("é") == Secret("é")
    assert bool(Secret("a")) and not Secret("")


@pytest.mark.parametrize(
    ("disabled", "has_key", "state"),
    [
        (False, True, AccountState.ACTIVE),
        (False, False, AccountState.NO_KEY),
        (True, True, AccountState.DISABLED),
        (True, False, AccountState.DISABLED),
    ],
)
def test_the_state_is_the_same_on_both_sides(
    disabled: bool, has_key: bool, state: AccountState
) -> None:
    opened = Account("1", "a@b", disabled, Secret(KEY) if has_key else None)
    stored = StoredAccount(
        "1", "a@b", disabled, "npk1.x" if has_key else None, None, datetime.now(UTC), None
    )
    assert opened.state is stored.state is state
    assert str(state) == state.value


def test_values_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Account("1", "a@b", False, None).disabled = True  # type: ignore[misc]
