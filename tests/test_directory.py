"""The directory answers from memory, and never for long from an old one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.directory import NOT_LOADED, Directory
from nanogpt_proxy.errors import BoundOtherwise, SealBroken, StoreError, StoreUnavailable
from nanogpt_proxy.models import Account, Secret, StoredAccount
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

MASTER = Secret("0123456789abcdef" * 4)
KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")
OTHER_KEY = Secret("sk-nano-fedcba98-7654-3210-fedc-ba9876543210")
ALICE, BOB = "alice@example.com", "bob@example.com"
INTERVAL = 0.01


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "proxy.db")
    yield store
    await store.close()


@pytest.fixture
async def people(tmp_path: Path, store: Store) -> AsyncIterator[Accounts]:
    """Works on the same database, as another process does."""
    elsewhere = await Store.open(tmp_path / "proxy.db")
    yield Accounts(elsewhere, Vault(MASTER))
    await elsewhere.close()


@pytest.fixture
async def directory(store: Store) -> AsyncIterator[Directory]:
    directory = Directory(store, Vault(MASTER), interval=INTERVAL)
    await directory.start()
    yield directory
    await directory.stop()


async def test_a_loaded_account_is_found_with_its_key(
    directory: Directory, people: Accounts
) -> None:
    stored = await people.add(ALICE, KEY)
    assert directory.find(ALICE) is NOT_LOADED
    account = await directory.load(ALICE)
    assert account == Account(stored.id, ALICE, False, KEY)
    assert directory.find(ALICE) is account


async def test_who_does_not_exist_is_remembered_as_such(directory: Directory) -> None:
    assert await directory.load(ALICE) is None
    assert directory.find(ALICE) is None


async def test_an_account_without_key_and_a_disabled_one_are_found(
    directory: Directory, people: Accounts
) -> None:
    await people.add(ALICE, None)
    await people.add(BOB, KEY)
    await people.disable(BOB)
    alice, bob = await directory.load(ALICE), await directory.load(BOB)
    assert alice is not None
    assert alice.key is None
    assert bob is not None
    assert bob.disabled


async def test_each_change_elsewhere_is_followed(directory: Directory, people: Accounts) -> None:
    async def after(change: object) -> Account | None:
        await until(lambda: directory.find(ALICE) is NOT_LOADED)
        return await directory.load(ALICE)

    assert await directory.load(ALICE) is None
    added = await after(await people.add(ALICE, KEY))
    assert added is not None
    assert added.key == KEY
    changed = await after(await people.set_key(ALICE, OTHER_KEY))
    assert changed is not None
    assert changed.key == OTHER_KEY
    disabled = await after(await people.disable(ALICE))
    assert disabled is not None
    assert disabled.disabled
    enabled = await after(await people.enable(ALICE))
    assert enabled is not None
    assert not enabled.disabled
    assert await after(await people.delete(ALICE)) is None


async def test_a_change_of_one_account_forgets_no_other(
    directory: Directory, people: Accounts
) -> None:
    await people.add(ALICE, KEY)
    await people.add(BOB, KEY)
    await until(lambda: directory._seq == 2)
    bob = await directory.load(BOB)
    await directory.load(ALICE)
    await people.disable(ALICE)
    await until(lambda: directory.find(ALICE) is NOT_LOADED)
    assert directory.find(BOB) is bob


async def test_too_many_changes_forget_everything(
    directory: Directory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await directory.load(BOB)

    async def since(seq: int) -> tuple[int, None]:
        return seq + 1, None

    monkeypatch.setattr(store.changes, "since", since)
    await store.meta.set("any", "commit")
    await until(lambda: directory.find(BOB) is NOT_LOADED)


async def test_a_value_that_changed_while_it_was_read_is_not_kept(
    directory: Directory, store: Store, people: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.add(ALICE, KEY)
    await until(lambda: directory._seq == 1)
    read, go_on = asyncio.Event(), asyncio.Event()
    get = store.accounts.get

    async def slow_get(email: str) -> StoredAccount | None:
        found = await get(email)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(store.accounts, "get", slow_get)
    loading = asyncio.gather(directory.load(ALICE))
    await read.wait()
    await people.disable(ALICE)
    await until(lambda: directory._seq == 2)
    go_on.set()
    (account,) = await loading
    assert account is not None
    assert account.disabled
    assert directory.find(ALICE) == account


async def test_many_loads_of_one_account_ask_once(
    directory: Directory, store: Store, people: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.add(ALICE, KEY)
    await until(lambda: directory._seq == 1)
    asked: list[str] = []
    get = store.accounts.get

    async def counted(email: str) -> StoredAccount | None:
        asked.append(email)
        return await get(email)

    monkeypatch.setattr(store.accounts, "get", counted)
    first = asyncio.ensure_future(directory.load(ALICE))
    others = [asyncio.ensure_future(directory.load(ALICE)) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()  # one who gives up takes nothing from the others
    found = await asyncio.gather(*others)
    assert asked == [ALICE]
    assert all(account is found[0] for account in found)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_key_that_does_not_open_is_an_error_each_time(
    directory: Directory, store: Store, people: Accounts
) -> None:
    alice, bob = await people.add(ALICE, KEY), await people.add(BOB, OTHER_KEY)
    await store.accounts.set_key(alice.id, bob.sealed_key, bob.key_hint)
    for _ in range(2):
        with pytest.raises(SealBroken):
            await directory.load(ALICE)
        assert directory.find(ALICE) is NOT_LOADED


async def test_an_error_is_not_remembered(
    directory: Directory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(email: str) -> None:
        raise StoreUnavailable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(store.accounts, "get", fail)
        with pytest.raises(StoreUnavailable):
            await directory.load(ALICE)
    assert directory.find(ALICE) is NOT_LOADED
    assert await directory.load(ALICE) is None


async def test_memory_is_bounded_for_strangers_too(store: Store) -> None:
    directory = Directory(store, Vault(MASTER), capacity=3)
    for n in range(5):
        await directory.load(f"user{n}@example.com")
    known = [n for n in range(5) if directory.find(f"user{n}@example.com") is None]
    assert known == [2, 3, 4]
    await directory.load("user4@example.com")
    assert directory.find("user2@example.com") is None


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), ValueError("a bug")])
async def test_a_store_that_fails_for_a_while_loses_no_change(
    directory: Directory,
    store: Store,
    people: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    caplog.set_level(logging.INFO)
    await people.add(ALICE, KEY)
    await until(lambda: directory._seq == 1)
    account = await directory.load(ALICE)
    tries = 0

    async def fail(seq: int) -> None:
        nonlocal tries
        tries += 1
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store.changes, "since", fail)
        await people.disable(ALICE)
        await until(lambda: tries > 3)
        assert not directory.healthy
        assert directory.find(ALICE) is account
    await until(lambda: directory.healthy)
    assert directory.find(ALICE) is NOT_LOADED
    told = [record.levelname for record in caplog.records]
    assert told == ["ERROR", "INFO"]


async def test_a_store_that_does_not_answer_stops_the_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> bool:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(store, "look", fail)
    with pytest.raises(StoreError):
        await Directory(store, Vault(MASTER)).start()


async def test_uses_are_written_down_at_stop(store: Store, people: Accounts) -> None:
    alice = await people.add(ALICE, KEY)
    directory = Directory(store, Vault(MASTER), clock=lambda: 1_800_000_000.5)
    await directory.start()
    directory.used(alice.id)
    directory.used(alice.id)
    await directory.stop()
    found = await store.accounts.get(ALICE)
    assert found is not None
    assert found.last_used_at == datetime.fromtimestamp(1_800_000_000.5, UTC)


async def test_uses_are_written_down_meanwhile(
    store: Store, people: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogpt_proxy.directory._FLUSH_SECONDS", 0.0)
    alice = await people.add(ALICE, KEY)
    directory = Directory(store, Vault(MASTER), interval=INTERVAL)
    await directory.start()
    await directory.load(ALICE)
    directory.used(alice.id)
    async with asyncio.timeout(5):
        while (found := await store.accounts.get(ALICE)) is None or found.last_used_at is None:
            pass
    assert directory.find(ALICE) is not NOT_LOADED  # a use is not a change
    await directory.stop()


async def test_uses_that_could_not_be_written_are_kept(
    store: Store, people: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(used: object) -> None:
        raise StoreUnavailable("locked")

    alice = await people.add(ALICE, KEY)
    directory = Directory(store, Vault(MASTER))
    directory.used(alice.id)
    with monkeypatch.context() as patch:
        patch.setattr(store.accounts, "touch", fail)
        await directory.stop()
    await directory.stop()
    found = await store.accounts.get(ALICE)
    assert found is not None
    assert found.last_used_at is not None


async def test_a_flush_that_stop_interrupts_loses_nothing(
    store: Store, people: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogpt_proxy.directory._FLUSH_SECONDS", 0.0)
    began = asyncio.Event()

    async def hang(used: object) -> None:
        monkeypatch.undo()
        began.set()
        await asyncio.Event().wait()

    alice = await people.add(ALICE, KEY)
    monkeypatch.setattr(store.accounts, "touch", hang)
    directory = Directory(store, Vault(MASTER), interval=INTERVAL)
    await directory.start()
    directory.used(alice.id)
    await began.wait()
    await directory.stop()
    found = await store.accounts.get(ALICE)
    assert found is not None
    assert found.last_used_at is not None


async def test_stop_ends_a_load_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(email: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store.accounts, "get", hang)
    directory = Directory(store, Vault(MASTER))
    await directory.start()
    load = asyncio.ensure_future(directory.load(ALICE))
    await asyncio.sleep(0)
    await directory.stop()
    with pytest.raises(asyncio.CancelledError):
        await load


async def test_a_binding_is_found_from_memory(directory: Directory, people: Accounts) -> None:
    await people.add(ALICE, KEY)
    account = await directory.load(ALICE)
    assert account is not None and account.bound_id is None
    bound = await directory.bind(account, "1")
    assert bound is not None and bound.bound_id == "1"
    assert directory.find(ALICE) is bound
    with pytest.raises(BoundOtherwise):
        await directory.bind(account, "2")
    await people.unbind(ALICE)
    await until(lambda: directory.find(ALICE) is NOT_LOADED)
    fresh = await directory.load(ALICE)
    assert fresh is not None and fresh.bound_id is None
    await people.delete(ALICE)
    assert await directory.bind(fresh, "1") is None


async def test_a_moved_account_is_found_under_its_new_email_alone(
    directory: Directory, people: Accounts
) -> None:
    stored = await people.add(ALICE, KEY)
    account = await directory.load(ALICE)
    assert account is not None
    await directory.bind(account, "1")
    assert await directory.load(BOB) is None
    moved = await directory.move("1", BOB)
    assert moved == Account(stored.id, BOB, False, KEY, "1")
    assert directory.find(BOB) is moved
    assert directory.find(ALICE) is NOT_LOADED
    assert await directory.load(ALICE) is None


async def test_who_has_no_account_is_remembered_until_something_changes(
    directory: Directory, people: Accounts
) -> None:
    assert not directory.is_stranger("1")
    assert await directory.move("1", ALICE) is None
    assert directory.is_stranger("1")
    await people.add(BOB, KEY)
    await until(lambda: not directory.is_stranger("1"))


async def test_a_key_is_marked_but_not_another_one_in_its_place(
    directory: Directory, people: Accounts, store: Store
) -> None:
    await people.add(ALICE, KEY)
    account = await directory.load(ALICE)
    assert account is not None and not account.key_rejected
    await directory.judge_key(account, rejected=True)
    await until(lambda: directory.find(ALICE) is NOT_LOADED)
    marked = await directory.load(ALICE)
    assert marked is not None and marked.key_rejected and marked.state == "key_rejected"
    await directory.judge_key(account, rejected=False)
    stored = await store.accounts.get(ALICE)
    assert stored is not None and stored.state == "active"
    await people.set_key(ALICE, OTHER_KEY)
    await directory.judge_key(account, rejected=True)
    stored = await store.accounts.get(ALICE)
    assert stored is not None and stored.state == "active"
    await people.delete(ALICE)
    await directory.judge_key(account, rejected=True)
