"""Contract: what is written is read, in whole transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nanogpt_proxy.errors import AccountExists, NoSuchAccount
from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store

NewAccount = Callable[..., StoredAccount]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_what_is_added_is_found_unchanged(store: Store, account: NewAccount) -> None:
    alice = account(sealed_key="npk1.x.y", key_hint="c123", last_used_at=NOON)
    await store.accounts.add(alice)
    assert await store.accounts.get(alice.email) == alice
    assert await store.accounts.get_by_id(alice.id) == alice


async def test_other_processes_see_it(store: Store, second: Store, account: NewAccount) -> None:
    await store.accounts.add(account())
    assert await second.accounts.get("alice@example.com") is not None


async def test_who_was_never_added_is_none(store: Store) -> None:
    assert await store.accounts.get("nobody@example.com") is None
    assert await store.accounts.get_by_id("0" * 32) is None
    assert await store.accounts.list_all() == []


async def test_one_account_for_one_email(store: Store, account: NewAccount) -> None:
    first = account()
    await store.accounts.add(first)
    seq, _ = await store.changes.since(0)
    with pytest.raises(AccountExists, match=r"alice@example\.com"):
        await store.accounts.add(account())
    assert await store.accounts.get("alice@example.com") == first
    assert (await store.changes.since(0))[0] == seq


async def test_the_store_folds_nothing(store: Store, account: NewAccount) -> None:
    names = ["ä@example.com", "a\u0308@example.com", "Ä@example.com", "a@example.com"]
    for name in names:
        await store.accounts.add(account(name))
    for name in names:
        found = await store.accounts.get(name)
        assert found is not None
        assert found.email == name


async def test_the_list_is_in_the_order_of_emails(store: Store, account: NewAccount) -> None:
    for name in ["b@x", "ä@x", "a_b@x", "a@x", "ab@x"]:
        await store.accounts.add(account(name))
    listed = [a.email for a in await store.accounts.list_all()]
    assert listed == sorted(["b@x", "ä@x", "a_b@x", "a@x", "ab@x"])


async def test_a_key_is_set_and_taken_away(store: Store, account: NewAccount) -> None:
    alice = account()
    await store.accounts.add(alice)
    await store.accounts.set_key(alice.id, "npk1.x.y", "c123")
    found = await store.accounts.get(alice.email)
    assert found is not None
    assert (found.sealed_key, found.key_hint) == ("npk1.x.y", "c123")
    await store.accounts.set_key(alice.id, None, None)
    assert await store.accounts.get(alice.email) == alice


async def test_an_account_is_disabled_and_enabled(store: Store, account: NewAccount) -> None:
    alice = account()
    await store.accounts.add(alice)
    for disabled in (True, True, False):
        await store.accounts.set_disabled(alice.id, disabled)
        found = await store.accounts.get(alice.email)
        assert found is not None
        assert found.disabled is disabled


async def test_a_deleted_account_is_gone_and_may_come_back(
    store: Store, account: NewAccount
) -> None:
    alice, bob = account(), account("bob@example.com")
    await store.accounts.add(alice)
    await store.accounts.add(bob)
    await store.accounts.delete(alice.id)
    assert await store.accounts.list_all() == [bob]
    await store.accounts.add(account())


async def test_changing_what_is_gone_is_refused_and_not_recorded(store: Store) -> None:
    with pytest.raises(NoSuchAccount):
        await store.accounts.set_key("0" * 32, "npk1.x.y", "c123")
    with pytest.raises(NoSuchAccount):
        await store.accounts.set_disabled("0" * 32, True)
    with pytest.raises(NoSuchAccount):
        await store.accounts.delete("0" * 32)
    assert await store.changes.since(0) == (0, frozenset())


async def test_uses_are_written_for_many_at_once(store: Store, account: NewAccount) -> None:
    alice, bob = account(), account("bob@example.com")
    await store.accounts.add(alice)
    await store.accounts.add(bob)
    await store.accounts.touch({alice.id: NOON, bob.id: NOON + timedelta(seconds=1), "gone": NOON})
    listed = await store.accounts.list_all()
    assert [a.last_used_at for a in listed] == [NOON, NOON + timedelta(seconds=1)]


async def test_an_older_use_does_not_replace_a_newer(store: Store, account: NewAccount) -> None:
    alice = account(last_used_at=NOON)
    await store.accounts.add(alice)
    await store.accounts.touch({alice.id: NOON - timedelta(microseconds=1)})
    await store.accounts.touch({})
    assert await store.accounts.get(alice.email) == alice


async def test_times_come_back_in_utc(store: Store, account: NewAccount) -> None:
    local = datetime(2026, 11, 23, 1, tzinfo=timezone(timedelta(hours=5)))
    alice = account(added_at=local)
    await store.accounts.add(alice)
    found = await store.accounts.get(alice.email)
    assert found is not None
    assert found.added_at == local
    assert found.added_at.tzinfo is UTC


async def test_it_knows_whether_it_holds_any_key(store: Store, account: NewAccount) -> None:
    assert not await store.accounts.holds_keys()
    await store.accounts.add(account())
    assert not await store.accounts.holds_keys()
    bob = account("bob@example.com", sealed_key="npk1.x.y", key_hint="c123")
    await store.accounts.add(bob)
    assert await store.accounts.any_sealed() == bob
    assert await store.accounts.holds_keys()


async def test_a_rejected_key_is_marked_until_there_is_a_new_one(
    store: Store, account: NewAccount
) -> None:
    alice = account(sealed_key="npk1.x.y")
    await store.accounts.add(alice)
    seq, _ = await store.changes.since(0)
    await store.accounts.set_key_rejected(alice.id, "npk1.x.y", NOON)
    await store.accounts.set_key_rejected(alice.id, "npk1.x.y", NOON)
    marked = await store.accounts.get(alice.email)
    assert marked is not None
    assert (marked.key_rejected_at, marked.state.value) == (NOON, "key_rejected")
    assert (await store.changes.since(seq))[0] == seq + 1, "the second time changed nothing"
    await store.accounts.set_key_rejected(alice.id, "npk1.x.y", None)
    assert await store.accounts.get(alice.email) == alice
    await store.accounts.set_key_rejected(alice.id, "npk1.x.y", NOON)
    await store.accounts.set_key(alice.id, "npk1.new.key", None)
    fresh = await store.accounts.get(alice.email)
    assert fresh is not None and fresh.key_rejected_at is None
    await store.accounts.set_key_rejected(alice.id, "npk1.x.y", NOON)  # comes late
    assert await store.accounts.get(alice.email) == fresh


async def test_many_are_brought_in_at_once(store: Store, account: NewAccount) -> None:
    alice, bob = account(), account("bob@example.com")
    await store.accounts.add(alice)
    seq, _ = await store.changes.since(0)
    await store.accounts.bring([bob], {alice.id: {"disabled": True}})
    listed = await store.accounts.list_all()
    assert [(a.email, a.disabled) for a in listed] == [(alice.email, True), (bob.email, False)]
    assert await store.changes.since(seq) == (seq + 2, frozenset({alice.email, bob.email}))


async def test_of_many_that_are_brought_in_all_are_or_none(
    store: Store, account: NewAccount
) -> None:
    alice, bob = account(), account("bob@example.com")
    await store.accounts.add(alice)
    with pytest.raises(AccountExists, match=r"alice@example\.com"):
        await store.accounts.bring([bob, account()], {})
    with pytest.raises(NoSuchAccount):
        await store.accounts.bring([bob], {"0" * 32: {"disabled": True}})
    assert await store.accounts.list_all() == [alice]
    assert (await store.changes.since(0))[0] == 1
