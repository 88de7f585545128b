"""`list` for people and for programs; never a key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.cli import listing
from nanogpt_proxy.models import StoredAccount

Cli = Callable[..., Any]
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_without_users_it_says_how_to_add_one(cli: Cli, data: Path) -> None:
    done = cli("list")
    assert (done.code, done.out) == (0, "")
    assert "add-user EMAIL" in done.err
    assert cli("list", "--json").out == "[]\n"


def test_the_table_shows_who_there_is(cli: Cli) -> None:
    cli("add-user", "zoë@example.com", stdin=KEY.encode())
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    cli("disable-user", "alice@example.com")
    title, *rows = cli("list").out.splitlines()
    assert title.split("  ")[0] == "E-MAIL"
    assert re.fullmatch(rf"alice@example\.com  disabled  …cdef  {INSTANT}  never", rows[0])
    assert re.fullmatch(rf"zoë@example\.com    active    …cdef  {INSTANT}  never", rows[1])


def test_json_has_the_documented_fields_and_no_key(cli: Cli) -> None:
    cli("add-user", "zoë@example.com", stdin=KEY.encode())
    done = cli("list", "--json")
    (row,) = json.loads(done.out)
    assert re.fullmatch(INSTANT, row.pop("added_at"))
    assert row == {
        "email": "zoë@example.com",
        "state": "active",
        "key_hint": "cdef",
        "last_used_at": None,
    }
    assert "zoë" in done.out
    assert "npk1" not in done.out


@pytest.mark.parametrize("as_json", [True, False])
def test_a_user_without_key_who_was_seen(as_json: bool) -> None:
    then = datetime(2026, 11, 23, 20, 0, 0, 999999, UTC)
    account = StoredAccount("0" * 32, "a@x", False, None, None, then, then)
    if as_json:
        (row,) = json.loads(listing._json([account]))
        assert row["state"] == "no_key"
        assert row["key_hint"] is None
        assert row["last_used_at"] == "2026-11-23T20:00:00Z"
    else:
        assert listing._table([account]).splitlines()[1].split() == [
            "a@x",
            "no_key",
            "-",
            "2026-11-23T20:00:00Z",
            "2026-11-23T20:00:00Z",
        ]
