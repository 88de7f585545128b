"""Contract: rows go from one master key to another, and none is left behind or overwritten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogpt_proxy.errors import OutdatedSeal
from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE, NEXT_CHECK_VALUE, prefix_of

NewAccount = Callable[..., StoredAccount]
OLD, NEW = "f1.old.", "f1.new."


async def test_what_is_sealed_by_another_key_is_found_and_replaced(
    store: Store, account: NewAccount
) -> None:
    alice, bob = account(sealed_key=f"{OLD}a"), account("bob@x", sealed_key=f"{NEW}b")
    for each in (alice, bob, account("keyless@x")):
        await store.accounts.add(each)
    assert await store.sealing.prefixes() == {OLD, NEW}
    assert await store.sealing.sealed_otherwise(NEW, most=9) == [(alice.id, alice.email, f"{OLD}a")]
    seq, _ = await store.changes.since(0)
    await store.sealing.replace({alice.id: (f"{OLD}a", f"{NEW}a")})
    assert await store.sealing.sealed_otherwise(NEW) == []
    assert await store.changes.since(seq) == (seq + 1, frozenset({alice.email}))


async def test_a_key_that_was_changed_meanwhile_is_not_overwritten(
    store: Store, account: NewAccount
) -> None:
    alice = account(sealed_key=f"{OLD}a")
    await store.accounts.add(alice)
    await store.accounts.set_key(alice.id, f"{OLD}changed", "c123")
    seq, _ = await store.changes.since(0)
    await store.sealing.replace({alice.id: (f"{OLD}a", f"{NEW}a"), "gone": ("x", "y")})
    found = await store.accounts.get(alice.email)
    assert found is not None
    assert found.sealed_key == f"{OLD}changed"
    assert await store.changes.since(seq) == (seq, frozenset())


async def test_it_is_finished_only_when_nothing_is_left(store: Store, account: NewAccount) -> None:
    alice = account(sealed_key=f"{OLD}a")
    await store.accounts.add(alice)
    await store.meta.set(CHECK_VALUE, f"{OLD}check")
    await store.meta.set(NEXT_CHECK_VALUE, f"{NEW}check")
    assert not await store.sealing.finish(f"{NEW}check")
    assert await store.meta.get(CHECK_VALUE) == f"{OLD}check"
    await store.sealing.replace({alice.id: (f"{OLD}a", f"{NEW}a")})
    assert await store.sealing.finish(f"{NEW}check")
    assert await store.meta.get(CHECK_VALUE) == f"{NEW}check"
    assert await store.meta.get(NEXT_CHECK_VALUE) is None


async def test_named_values_that_are_sealed_come_along(store: Store) -> None:
    await store.meta.set(CHECK_VALUE, f"{OLD}check")
    await store.meta.set("another", f"{OLD}x")
    await store.meta.set("plain", "x")
    assert not await store.sealing.finish(f"{NEW}check")
    assert await store.sealing.values_sealed_otherwise(NEW) == [("another", f"{OLD}x")]
    await store.sealing.replace_value("another", f"{OLD}other", f"{NEW}other")
    assert await store.meta.get("another") == f"{OLD}x"
    await store.sealing.replace_value("another", f"{OLD}x", f"{NEW}x")
    assert await store.sealing.values_sealed_otherwise(NEW) == []
    assert await store.sealing.finish(f"{NEW}check")


async def test_what_an_old_key_has_sealed_is_kept_out(store: Store, account: NewAccount) -> None:
    await store.meta.set(CHECK_VALUE, f"{OLD}check")
    alice = account(sealed_key=f"{OLD}a")
    await store.accounts.add(alice)
    with pytest.raises(OutdatedSeal):
        await store.accounts.set_key(alice.id, f"{NEW}a", "c123")
    await store.meta.set(NEXT_CHECK_VALUE, f"{NEW}check")
    await store.accounts.set_key(alice.id, f"{NEW}a", "c123")
    await store.accounts.set_key(alice.id, f"{OLD}a", "c123")
    await store.accounts.set_key(alice.id, f"{NEW}a", "c123")
    assert await store.sealing.finish(f"{NEW}check")
    with pytest.raises(OutdatedSeal):
        await store.accounts.set_key(alice.id, f"{OLD}a", "c123")
    with pytest.raises(OutdatedSeal):
        await store.accounts.add(account("bob@x", sealed_key=f"{OLD}b"))
    with pytest.raises(OutdatedSeal):
        await store.meta.set_if_absent("another", f"{OLD}value")
    await store.meta.set_if_absent("another", f"{NEW}value")
    await store.meta.set_if_absent("version", "1.2.3")
    await store.accounts.set_key(alice.id, None, None)
    await store.accounts.set_disabled(alice.id, True)


def test_all_before_the_last_dot_is_the_prefix() -> None:
    assert prefix_of("npk1.01234567.body") == "npk1.01234567."


async def test_nothing_of_the_past_stays_in_the_files(
    store: Store, second: Store, place: Path, account: NewAccount
) -> None:
    alice = account(sealed_key="f1.old." + "a" * 90)
    await store.accounts.add(alice)
    await store.accounts.set_key(alice.id, "f1.new." + "b" * 90, "c123")
    await second.ping()
    await store.forget_the_past()
    written = b"".join(path.read_bytes() for path in place.parent.iterdir())
    assert b"f1.old." not in written
    assert written.count(b"f1.new.") == 1
    await second.accounts.set_disabled(alice.id, True)
    connection = sqlite3.connect(place)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
