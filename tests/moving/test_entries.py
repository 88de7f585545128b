"""One entry for one user, and messages that name the place."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.moving.entries import Entry, Row, checked

KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"


def test_emails_and_keys_become_canonical() -> None:
    (entry,) = checked([Row("row 1", " Alice@Example.com", f" {KEY}\r")])
    assert entry == Entry("alice@example.com", Secret(KEY), None, None)
    assert KEY not in repr(Row("row 1", "a@b", KEY)) + repr(entry)


@pytest.mark.parametrize("key", [None, ""])
def test_a_user_may_have_no_key(key: str | None) -> None:
    assert checked([Row("row 1", "a@b", key)])[0].key is None


def test_two_spellings_of_one_user_are_both_named() -> None:
    rows = [Row("row 1", "Alice@x", KEY), Row("row 2", "bob@x", KEY), Row("row 3", "alice@X", KEY)]
    with pytest.raises(ProxyError) as caught:
        checked(rows)
    assert caught.value.message == "row 1 and row 3 are one user: Alice@x and alice@X"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("email", "key", "why"),
    [
        ("alice", KEY, "one @"),
        ("a@b", "two words", "no blanks"),
        ("a@b", "sk-nano-mgmt-1", "mgmt|management"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_place(email: str, key: str, why: str) -> None:
    with pytest.raises(ProxyError, match=rf"^row 7: .*({why})") as caught:
        checked([Row("row 7", email, key)])
    assert key not in caught.value.message
