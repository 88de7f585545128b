"""What is exported comes back, and what was altered does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.errors import InvalidInput, ProxyError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.moving.exported import FORMAT, Exported, export
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

VAULT = Vault(Secret("0123456789abcdef" * 4))
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
PHRASE = Secret("a long passphrase")
NOON = datetime(2026, 11, 23, 12, 0, 0, 5, UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "proxy.db")
    accounts = Accounts(store, VAULT, clock=lambda: NOON)
    await accounts.add("älice@example.com", Secret(KEY))
    await accounts.add("bob@example.com", None)
    await accounts.disable("bob@example.com")
    yield store
    await store.close()


async def test_with_keys_all_of_it_comes_back(store: Store) -> None:
    text = await export(store, VAULT, PHRASE, NOON)
    assert KEY not in text
    assert text.isascii()
    source = Exported(json.loads(text))
    assert source.asks_for == "Passphrase of the export"
    rows = source.rows(PHRASE)
    assert [(r.email, r.key, r.disabled, r.added_at) for r in rows] == [
        ("bob@example.com", None, True, NOON),
        ("älice@example.com", KEY, False, NOON),
    ]


async def test_without_keys_there_is_nothing_sealed(store: Store) -> None:
    text = await export(store, VAULT, None, NOON)
    assert json.loads(text)["keys"] is None
    assert "npk1" not in text
    assert KEY[-4:] not in text
    source = Exported(json.loads(text))
    assert source.asks_for is None
    assert [row.key for row in source.rows(None)] == [None, None]


async def test_a_wrong_passphrase_and_altered_accounts_do_not_open(store: Store) -> None:
    document = json.loads(await export(store, VAULT, PHRASE, NOON))
    with pytest.raises(ProxyError, match="passphrase is wrong"):
        Exported(document).rows(Secret("another passphrase"))
    with pytest.raises(ProxyError, match="passphrase is wrong"):
        Exported(document).rows(None)
    document["accounts"][0]["disabled"] = False
    with pytest.raises(ProxyError, match="altered"):
        Exported(document).rows(PHRASE)


async def test_a_short_passphrase_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput):
        await export(store, VAULT, Secret("short"), NOON)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": None}, "no export"),
        ({"format": "something else"}, "no export"),
        ({"format": "nanogpt-proxy export 2"}, "newer release"),
        ({"accounts": {}}, "damaged"),
        ({"accounts": [1]}, "entry 1"),
        ({"accounts": [{"email": "a@x", "disabled": 0, "added_at": "2026-11-23"}]}, "entry 1"),
        ({"accounts": [{"email": "a@x", "disabled": True, "added_at": "2026-11-23"}]}, "entry 1"),
        ({"accounts": [{"email": "a@x", "disabled": True, "added_at": "today"}]}, "entry 1"),
        ({"keys": "sealed"}, "damaged"),
        ({"keys": {"kdf": "md5"}}, "does not know"),
    ],
)
def test_other_objects_are_refused(change: dict[str, Any], why: str) -> None:
    document: dict[str, Any] = {
        "format": FORMAT,
        "exported_at": "now",
        "accounts": [],
        "keys": None,
    }
    assert Exported(document).rows(None) == []
    with pytest.raises(ProxyError, match=why):
        Exported(document | change).rows(PHRASE)
