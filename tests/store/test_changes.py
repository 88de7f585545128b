"""Contract: a reader that asks now and then misses no change of an account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.changes import KEPT

NewAccount = Callable[..., StoredAccount]


async def test_each_kind_of_change_is_counted_and_named(store: Store, account: NewAccount) -> None:
    alice = account()
    seq, emails = await store.changes.since(0)
    assert (seq, emails) == (0, frozenset())
    await store.accounts.add(alice)
    await store.accounts.set_key(alice.id, "npk1.x.y", "c123")
    await store.accounts.set_disabled(alice.id, True)
    await store.accounts.delete(alice.id)
    for before in range(4):
        assert await store.changes.since(before) == (4, frozenset({alice.email}))
    assert await store.changes.since(4) == (4, frozenset())


async def test_only_later_changes_are_named(store: Store, account: NewAccount) -> None:
    await store.accounts.add(account("a@x"))
    seq, _ = await store.changes.since(0)
    await store.accounts.add(account("b@x"))
    await store.accounts.add(account("c@x"))
    assert await store.changes.since(seq) == (seq + 2, frozenset({"b@x", "c@x"}))


async def test_use_is_not_a_change(store: Store, account: NewAccount) -> None:
    alice = account()
    await store.accounts.add(alice)
    before = await store.changes.since(0)
    await store.accounts.touch({alice.id: datetime.now(UTC)})
    await store.meta.set("name", "value")
    assert await store.changes.since(0) == before


async def test_whoever_is_far_behind_forgets_everything(store: Store, account: NewAccount) -> None:
    alice = account()
    await store.accounts.add(alice)
    for turn in range(KEPT):
        await store.accounts.set_disabled(alice.id, turn % 2 == 0)
    assert await store.changes.since(0) == (KEPT + 1, None)
    assert await store.changes.since(1) == (KEPT + 1, frozenset({alice.email}))


async def test_a_counter_that_went_back_is_another_database(store: Store) -> None:
    assert await store.changes.since(7) == (0, None)


async def test_writers_at_once_get_numbers_of_their_own(
    store: Store, second: Store, account: NewAccount
) -> None:
    names = {f"user{n}@example.com" for n in range(20)}
    await asyncio.gather(
        *(
            (store, second)[n % 2].accounts.add(account(name))
            for n, name in enumerate(sorted(names))
        )
    )
    assert await store.changes.since(0) == (20, frozenset(names))
