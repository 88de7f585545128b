"""One user of Open WebUI, one account: kept by the database, whoever writes at the same time."""

from __future__ import annotations

import asyncio

import pytest

from nanogpt_proxy.errors import AccountExists, BoundOtherwise, NoSuchAccount
from nanogpt_proxy.store import Store
from tests.store.conftest import NewAccount

ALICE, BOB = "alice@example.com", "bob@example.com"


async def bound_id(store: Store, email: str) -> str | None:
    found = await store.accounts.get(email)
    assert found is not None
    return found.bound_id


async def test_the_first_user_gets_the_account(
    store: Store, second: Store, account: NewAccount
) -> None:
    alice = account(ALICE)
    await store.accounts.add(alice)
    seq, _ = await store.changes.since(0)
    await store.bindings.bind(alice.id, "1")
    assert await bound_id(second, ALICE) == "1"
    assert await store.bindings.has("1") and not await store.bindings.has("2")
    assert await second.changes.since(seq) == (seq + 1, frozenset({ALICE}))
    await second.bindings.bind(alice.id, "1")
    assert (await store.changes.since(seq))[0] == seq + 1, "nothing has changed"
    with pytest.raises(BoundOtherwise):
        await second.bindings.bind(alice.id, "2")
    assert await bound_id(store, ALICE) == "1"


async def test_a_user_gets_no_second_account(store: Store, account: NewAccount) -> None:
    alice, bob = account(ALICE), account(BOB)
    await store.accounts.add(alice)
    await store.accounts.add(bob)
    await store.bindings.bind(alice.id, "1")
    seq, _ = await store.changes.since(0)
    with pytest.raises(BoundOtherwise):
        await store.bindings.bind(bob.id, "1")
    assert await bound_id(store, BOB) is None
    assert (await store.changes.since(0))[0] == seq


async def test_of_many_at_once_one_wins(store: Store, second: Store, account: NewAccount) -> None:
    alice = account(ALICE)
    await store.accounts.add(alice)
    both = (store, second)
    tries = [where.bindings.bind(alice.id, str(number)) for number in range(5) for where in both]
    results = await asyncio.gather(*tries, return_exceptions=True)
    winner = await bound_id(store, ALICE)
    assert [result for result in results if result is None] == [None, None]
    assert all(isinstance(result, BoundOtherwise) for result in results if result is not None)
    assert winner in set("01234")


async def test_an_account_moves_along_to_a_new_email(store: Store, account: NewAccount) -> None:
    alice = account(ALICE, sealed_key="npk1.x.y")
    await store.accounts.add(alice)
    await store.bindings.bind(alice.id, "1")
    seq, _ = await store.changes.since(0)
    assert await store.bindings.move("1", "new@example.com") == ALICE
    assert await store.bindings.move("1", "new@example.com") == "new@example.com"
    assert await store.accounts.get(ALICE) is None
    moved = await store.accounts.get("new@example.com")
    assert moved is not None
    assert (moved.id, moved.sealed_key, moved.bound_id) == (alice.id, "npk1.x.y", "1")
    assert await store.changes.since(seq) == (seq + 2, frozenset({ALICE, "new@example.com"}))


async def test_it_does_not_move_to_anothers_email(store: Store, account: NewAccount) -> None:
    alice = account(ALICE)
    await store.accounts.add(alice)
    await store.accounts.add(account(BOB))
    await store.bindings.bind(alice.id, "1")
    with pytest.raises(AccountExists):
        await store.bindings.move("1", BOB)
    assert await bound_id(store, ALICE) == "1"
    assert await store.bindings.move("2", "new@example.com") is None


async def test_one_or_all_are_unbound(store: Store, account: NewAccount) -> None:
    people = [account(f"{number}@example.com") for number in range(4)]
    for number, person in enumerate(people):
        await store.accounts.add(person)
        if number:
            await store.bindings.bind(person.id, str(number))
    assert await store.bindings.unbind(people[1].id) == 1
    assert await store.bindings.unbind(people[1].id) == 0
    await store.bindings.bind(people[1].id, "another")
    seq, _ = await store.changes.since(0)
    assert await store.bindings.unbind(None) == 3
    assert await store.changes.since(seq) == (seq + 3, frozenset(p.email for p in people[1:]))
    assert [await bound_id(store, person.email) for person in people] == [None] * 4


async def test_who_is_gone_is_not_bound(store: Store) -> None:
    with pytest.raises(NoSuchAccount):
        await store.bindings.bind("0" * 32, "1")
