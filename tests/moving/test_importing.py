"""All entries are brought in, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.errors import AccountExists, NoSuchAccount
from nanogpt_proxy.models import Secret, StoredAccount
from nanogpt_proxy.moving.entries import Entry
from nanogpt_proxy.moving.importing import Fate, Import
from nanogpt_proxy.opening import Opened, open_store_and_vault
from nanogpt_proxy.rotation import rotate
from nanogpt_proxy.settings import load

KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")
OTHER = Secret("sk-nano-fedcba98-7654-3210-fedc-ba9876543210")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = await open_store_and_vault(load({"DATA_DIR": str(tmp_path / "d")}, cwd=tmp_path))
    yield opened
    await opened.store.close()


def entry(email: str, key: Secret | None = KEY, disabled: bool | None = None) -> Entry:
    return Entry(email, key, disabled, None)


async def account(opened: Opened, email: str) -> StoredAccount:
    found = await opened.store.accounts.get(email)
    assert found is not None
    return found


async def key_of(opened: Opened, email: str) -> Secret:
    found = await account(opened, email)
    assert found.sealed_key is not None
    return opened.vault.open(found.sealed_key, found.id)


async def test_new_users_are_added_and_the_plan_writes_nothing(opened: Opened) -> None:
    bringing = Import(opened.store, opened.vault)
    plan = await bringing.plan([entry(ALICE), Entry(BOB, None, True, NOON)], replace=False)
    assert [each.fate for each in plan] == [Fate.ADD, Fate.ADD]
    assert await opened.store.accounts.list_all() == []
    await bringing.carry_out(plan)
    assert await key_of(opened, ALICE) == KEY
    bob = await account(opened, BOB)
    assert (bob.sealed_key, bob.disabled, bob.added_at) == (None, True, NOON)
    assert await opened.store.changes.since(0) == (2, frozenset({ALICE, BOB}))


async def test_who_exists_is_kept_unless_replaced(opened: Opened) -> None:
    accounts = Accounts(opened.store, opened.vault)
    before = await accounts.add(ALICE, KEY)
    bringing = Import(opened.store, opened.vault)
    plan = await bringing.plan([entry(ALICE, OTHER), entry(BOB)], replace=False)
    assert [each.fate for each in plan] == [Fate.KEEP, Fate.ADD]
    await bringing.carry_out(plan)
    assert await account(opened, ALICE) == before
    plan = await bringing.plan([entry(ALICE, OTHER, True)], replace=True)
    assert [each.fate for each in plan] == [Fate.REPLACE]
    await bringing.carry_out(plan)
    after = await account(opened, ALICE)
    assert await key_of(opened, ALICE) == OTHER
    assert (after.id, after.added_at, after.key_hint) == (before.id, before.added_at, "3210")
    assert after.disabled


async def test_a_key_that_comes_in_does_not_count_as_rejected(opened: Opened) -> None:
    accounts = Accounts(opened.store, opened.vault)
    before = await accounts.add(ALICE, KEY)
    assert before.sealed_key is not None
    now = datetime.now(UTC)
    await opened.store.accounts.set_key_rejected(before.id, before.sealed_key, now)
    bringing = Import(opened.store, opened.vault)
    await bringing.carry_out(await bringing.plan([entry(ALICE, None)], replace=True))
    assert (await account(opened, ALICE)).key_rejected_at == now
    await bringing.carry_out(await bringing.plan([entry(ALICE, OTHER)], replace=True))
    assert (await account(opened, ALICE)).key_rejected_at is None


async def test_what_the_file_does_not_say_stays(opened: Opened) -> None:
    accounts = Accounts(opened.store, opened.vault)
    await accounts.add(ALICE, KEY)
    await accounts.disable(ALICE)
    before = await account(opened, ALICE)
    bringing = Import(opened.store, opened.vault)
    await bringing.carry_out(await bringing.plan([entry(ALICE, None)], replace=True))
    assert await account(opened, ALICE) == before


async def test_one_that_fails_takes_all_back(opened: Opened) -> None:
    bringing = Import(opened.store, opened.vault)
    accounts = Accounts(opened.store, opened.vault)
    plan = await bringing.plan([entry(ALICE), entry(BOB)], replace=False)
    await accounts.add(BOB, OTHER)
    with pytest.raises(AccountExists, match=BOB):
        await bringing.carry_out(plan)
    assert [a.email for a in await accounts.list()] == [BOB]
    plan = await bringing.plan([entry(ALICE), entry(BOB)], replace=True)
    await accounts.delete(BOB)
    with pytest.raises(NoSuchAccount):
        await bringing.carry_out(plan)
    assert await accounts.list() == []


async def test_a_change_of_keys_in_between_is_followed(opened: Opened, tmp_path: Path) -> None:
    bringing = Import(opened.store, opened.vault)
    plan = await bringing.plan([entry(ALICE)], replace=False)
    await rotate(load({"DATA_DIR": str(tmp_path / "d")}, cwd=tmp_path))
    await bringing.carry_out(plan)
    assert await key_of(opened, ALICE) == KEY
