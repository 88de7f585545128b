"""What people type becomes an account whose key is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.errors import AccountExists, InvalidEmail, InvalidKey, NoSuchAccount
from nanogpt_proxy.models import AccountState, Secret
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

VAULT = Vault(Secret("0123456789abcdef" * 4))
KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")
NOW = datetime(2026, 11, 23, 20, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "proxy.db")
    yield store
    await store.close()


@pytest.fixture
def accounts(store: Store) -> Accounts:
    return Accounts(store, VAULT, clock=lambda: NOW)


async def test_a_new_user_is_stored_with_a_sealed_key(accounts: Accounts, store: Store) -> None:
    added = await accounts.add(" Alice@Example.COM ", Secret(f" {KEY.reveal()}\n"))
    assert added.email == "alice@example.com"
    assert added.added_at == NOW
    assert added.state is AccountState.ACTIVE
    assert added.key_hint == "cdef"
    assert added.sealed_key is not None
    assert VAULT.open(added.sealed_key, added.id) == KEY
    assert await store.accounts.get("alice@example.com") == added


async def test_a_user_may_have_no_key_yet(accounts: Accounts) -> None:
    added = await accounts.add("alice@example.com", None)
    assert added.state is AccountState.NO_KEY
    changed = await accounts.set_key("ALICE@example.com", KEY)
    assert changed.state is AccountState.ACTIVE
    assert list(await accounts.list()) == [changed]


async def test_two_spellings_are_one_user(accounts: Accounts) -> None:
    await accounts.add("alice@example.com", KEY)
    with pytest.raises(AccountExists):
        await accounts.add("Alice@EXAMPLE.com", KEY)


async def test_a_user_is_disabled_enabled_and_deleted(accounts: Accounts) -> None:
    await accounts.add("alice@example.com", KEY)
    assert (await accounts.disable("Alice@example.com")).state is AccountState.DISABLED
    assert [a.state for a in await accounts.list()] == [AccountState.DISABLED]
    assert (await accounts.enable("alice@example.com")).state is AccountState.ACTIVE
    assert (await accounts.delete(" alice@example.com")).email == "alice@example.com"
    assert await accounts.list() == []


async def test_a_user_who_comes_back_is_another_one(accounts: Accounts) -> None:
    first = await accounts.add("alice@example.com", KEY)
    await accounts.delete("alice@example.com")
    assert (await accounts.add("alice@example.com", KEY)).id != first.id


async def test_a_stranger_cannot_be_changed(accounts: Accounts) -> None:
    for change in (accounts.disable, accounts.enable, accounts.delete):
        with pytest.raises(NoSuchAccount, match="nobody"):
            await change("nobody@example.com")
    with pytest.raises(NoSuchAccount, match="nobody"):
        await accounts.set_key("nobody@example.com", KEY)


async def test_what_cannot_be_used_is_refused_and_nothing_kept(accounts: Accounts) -> None:
    with pytest.raises(InvalidEmail):
        await accounts.add("alice", KEY)
    with pytest.raises(InvalidKey):
        await accounts.add("alice@example.com", Secret("two words"))
    assert await accounts.list() == []


async def test_an_account_is_unbound_alone_or_with_all(accounts: Accounts, store: Store) -> None:
    for number, email in enumerate(("a@x", "b@x")):
        added = await accounts.add(email, KEY)
        await store.bindings.bind(added.id, str(number))
    assert (await accounts.unbind(" A@x")).bound_id is None
    assert [account.bound_id for account in await accounts.list()] == [None, "1"]
    assert await accounts.unbind_all() == 1
    with pytest.raises(NoSuchAccount):
        await accounts.unbind("c@x")


async def test_a_new_key_is_not_marked_as_rejected(accounts: Accounts, store: Store) -> None:
    added = await accounts.add("a@x", KEY)
    assert added.sealed_key is not None
    await store.accounts.set_key_rejected(added.id, added.sealed_key, NOW)
    (before,) = await accounts.list()
    changed = await accounts.set_key("a@x", KEY)
    (after,) = await accounts.list()
    assert (before.state, changed.state, after.state) == ("key_rejected", "active", "active")
