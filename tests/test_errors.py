"""The tree of errors: who is caught with whom, and with what a command exits."""

from __future__ import annotations

import inspect

import pytest

from nanogpt_proxy import errors
from nanogpt_proxy.errors import (
    AccountError,
    AccountExists,
    ConfigurationError,
    InvalidEmail,
    InvalidInput,
    InvalidKey,
    NoSuchAccount,
    ProxyError,
    Refusal,
    SealBroken,
    StoreError,
    StoreUnavailable,
    VaultError,
    WrongMasterKey,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.__module__ == errors.__name__])
def test_each_error_is_in_the_drawing(kind: type[Exception]) -> None:
    assert issubclass(kind, ProxyError)
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "parent", "exit_code"),
    [
        (InvalidEmail, InvalidInput, 2),
        (InvalidKey, InvalidInput, 2),
        (AccountExists, AccountError, 1),
        (NoSuchAccount, AccountError, 1),
        (WrongMasterKey, VaultError, 1),
        (SealBroken, VaultError, 1),
        (StoreUnavailable, StoreError, 1),
    ],
)
def test_an_error_is_caught_with_its_kind(
    kind: type[ProxyError], parent: type[ProxyError], exit_code: int
) -> None:
    error = kind("why", hint="what next")
    assert isinstance(error, parent)
    assert (error.exit_code, error.message, error.hint, str(error)) == (
        exit_code,
        "why",
        "what next",
        "why",
    )


def test_wrong_settings_are_told_all_at_once() -> None:
    error = ConfigurationError(["A: one", "B: two"])
    assert error.problems == ("A: one", "B: two")
    assert (str(error), error.exit_code, error.hint) == ("A: one; B: two", 2, None)


def test_a_refusal_is_an_answer() -> None:
    refusal = Refusal(405, "method_not_allowed", "No.", headers=[("allow", "GET")])
    assert (refusal.status, refusal.code, refusal.message) == (405, "method_not_allowed", "No.")
    assert refusal.kind == "invalid_request_error"
    assert refusal.headers == (("allow", "GET"),)
