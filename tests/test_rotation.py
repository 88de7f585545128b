"""A change of the master key may be cut short anywhere: nothing is lost, and it can go on."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.errors import ConfigurationError, VaultError, WrongMasterKey
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.private_files import alone
from nanogpt_proxy.rotation import LOCK_FILE, rotate
from nanogpt_proxy.settings import Settings, load
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import Meta
from nanogpt_proxy.store.sealing import Sealing
from nanogpt_proxy.vault import Vault, master_keys
from nanogpt_proxy.vault.master_keys import KEY_FILE, NEXT_KEY_FILE

ONE, TWO, THREE = (
    "0123456789abcdef" * 4,
    "fedcba9876543210" * 4,
    "00112233445566778899aabbccddeeff" * 2,
)
USERS = 60
MakeSettings = Callable[..., Settings]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    def make(**environ: str) -> Settings:
        return load({"DATA_DIR": str(tmp_path / "data"), **environ}, cwd=tmp_path, prefix=tmp_path)

    return make


def key(number: int) -> Secret:
    return Secret(f"sk-nano-01234567-89ab-cdef-0123-{number:012}")


def email(number: int) -> str:
    return f"user{number:03}@example.com"


async def enrol(settings: Settings) -> None:
    opened = await open_store_and_vault(settings)
    accounts = Accounts(opened.store, opened.vault)
    for number in range(USERS):
        await accounts.add(email(number), key(number))
    await accounts.add("keyless@example.com", None)
    await opened.store.close()


async def all_open(settings: Settings) -> set[str]:
    """Every key opens; the prefixes that they are sealed by."""
    opened = await open_store_and_vault(settings)
    listed = await opened.store.accounts.list_all()
    assert len(listed) == USERS + 1
    for number, account in enumerate(a for a in listed if a.sealed_key):
        assert account.sealed_key is not None
        assert opened.vault.open(account.sealed_key, account.id) == key(number)
    prefixes = await opened.store.sealing.prefixes()
    await opened.store.close()
    return set(prefixes)


async def test_the_key_of_the_file_is_changed(settings: MakeSettings, tmp_path: Path) -> None:
    await enrol(settings())
    before = (tmp_path / "data" / KEY_FILE).read_text().strip()
    done = await rotate(settings())
    after = (tmp_path / "data" / KEY_FILE).read_text().strip()
    assert before != after
    assert (done.renewed, done.changed, done.from_file) == (USERS, True, True)
    assert done.key_id == Vault(Secret(after)).key_id
    assert await all_open(settings()) == {f"npk1.{done.key_id}."}
    with pytest.raises(WrongMasterKey):
        await open_store_and_vault(settings(DB_ENCRYPTION_KEY=before))
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert Vault(Secret(before)).key_id.encode() not in written
    assert before.encode() not in written
    assert not (tmp_path / "data" / NEXT_KEY_FILE).exists()


async def test_named_values_that_are_sealed_come_along(settings: MakeSettings) -> None:
    opened = await open_store_and_vault(settings())
    await opened.store.meta.set("another", opened.vault.seal(Secret("value"), "another"))
    await opened.store.close()
    done = await rotate(settings())
    opened = await open_store_and_vault(settings())
    sealed = await opened.store.meta.get("another") or ""
    assert opened.vault.open(sealed, "another") == Secret("value")
    assert done.key_id in sealed
    await opened.store.close()


async def test_it_may_be_changed_again_and_again(settings: MakeSettings) -> None:
    await enrol(settings())
    ids = {(await rotate(settings())).key_id for _ in range(3)}
    assert len(ids) == 3
    await all_open(settings())


async def test_the_key_of_the_settings_is_changed(settings: MakeSettings) -> None:
    await enrol(settings(DB_ENCRYPTION_KEY=ONE))
    both = settings(DB_ENCRYPTION_KEY=TWO, DB_ENCRYPTION_KEY_PREVIOUS=ONE)
    assert await all_open(both) == {f"npk1.{Vault(Secret(ONE)).key_id}."}
    done = await rotate(both)
    assert (done.renewed, done.changed, done.from_file) == (USERS, True, False)
    assert await all_open(both) == {f"npk1.{Vault(Secret(TWO)).key_id}."}
    assert not (await rotate(both)).changed
    await all_open(settings(DB_ENCRYPTION_KEY=TWO))
    with pytest.raises(WrongMasterKey):
        await open_store_and_vault(settings(DB_ENCRYPTION_KEY=ONE))
    with pytest.raises(ConfigurationError):
        await rotate(settings(DB_ENCRYPTION_KEY=TWO))


async def test_with_one_key_in_the_settings_it_tells_the_steps(settings: MakeSettings) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await rotate(settings(DB_ENCRYPTION_KEY=ONE))
    text = caught.value.message
    steps = ["1. set DB_ENCRYPTION_KEY", "2. restart", "3. run", "4. remove DB_ENCRYPTION_KEY_PREV"]
    assert [step for step in steps if step in text] == steps
    assert ONE not in text


async def test_the_key_moves_from_the_file_into_the_settings(
    settings: MakeSettings, tmp_path: Path
) -> None:
    await enrol(settings())
    old = (tmp_path / "data" / KEY_FILE).read_text().strip()
    await rotate(settings(DB_ENCRYPTION_KEY=TWO, DB_ENCRYPTION_KEY_PREVIOUS=old))
    await all_open(settings(DB_ENCRYPTION_KEY=TWO))


def killed_before(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> None:
    cut(monkeypatch, place, name, call, after=False)


def killed_after(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> None:
    cut(monkeypatch, place, name, call, after=True)


def cut(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int, *, after: bool) -> None:
    """The process ends at this call of the function."""
    real, calls = getattr(place, name), iter(range(1, 1000))

    def plain(*args: Any, **named: Any) -> Any:
        if next(calls) != call:
            return real(*args, **named)
        if after:
            real(*args, **named)
        raise Killed

    async def awaited(*args: Any, **named: Any) -> Any:
        if next(calls) != call:
            return await real(*args, **named)
        if after:
            await real(*args, **named)
        raise Killed

    monkeypatch.setattr(place, name, plain if place is master_keys else awaited)


CUTS = [
    (master_keys, "make_next_key", 1),
    (Meta, "set", 1),
    (Sealing, "replace", 1),
    (Sealing, "replace", 3),
    (Sealing, "finish", 1),
    (Store, "forget_the_past", 1),
    (master_keys, "promote_next_key", 1),
]


@pytest.mark.parametrize("die", [killed_before, killed_after])
@pytest.mark.parametrize(("place", "name", "call"), CUTS, ids=[f"{c[1]}-{c[2]}" for c in CUTS])
async def test_cut_short_anywhere_nothing_is_lost_and_it_goes_on(
    settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    die: Callable[..., None],
    place: Any,
    name: str,
    call: int,
) -> None:
    await enrol(settings())
    old = (tmp_path / "data" / KEY_FILE).read_text().strip()
    with monkeypatch.context() as patch:
        die(patch, place, name, call)
        with pytest.raises(Killed):
            await rotate(settings())
    await all_open(settings())
    opened = await open_store_and_vault(settings())
    await Accounts(opened.store, opened.vault).set_key(email(0), key(0))
    unfinished = (tmp_path / "data" / NEXT_KEY_FILE).exists()
    assert any("rotate-key" in note for note in opened.notes) is unfinished
    await opened.store.close()
    done = await rotate(settings())
    assert await all_open(settings()) == {f"npk1.{done.key_id}."}
    with pytest.raises(WrongMasterKey):
        await open_store_and_vault(settings(DB_ENCRYPTION_KEY=old))


async def test_a_running_process_follows_to_the_new_key(settings: MakeSettings) -> None:
    await enrol(settings())
    running = await open_store_and_vault(settings())
    accounts = Accounts(running.store, running.vault)
    before = running.vault.key_id
    done = await rotate(settings())
    assert running.vault.key_id == before
    await accounts.set_key(email(0), key(0))
    await accounts.add("new@example.com", key(99))
    assert running.vault.key_id == done.key_id
    assert await running.store.sealing.prefixes() == {f"npk1.{done.key_id}."}
    await running.store.close()


async def test_only_one_at_a_time(settings: MakeSettings, tmp_path: Path) -> None:
    await enrol(settings())
    with alone(tmp_path / "data" / LOCK_FILE), pytest.raises(VaultError, match="another"):
        await rotate(settings())


async def test_a_file_that_cannot_be_replaced_loses_nothing(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrol(settings())

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", busy)
        with pytest.raises(VaultError, match="resource busy") as caught:
            await rotate(settings())
    assert "nothing is lost" in (caught.value.hint or "")
    await all_open(settings())
    assert (await rotate(settings())).renewed == 0
    await all_open(settings())


async def test_a_damaged_key_is_named_before_anything_is_begun(
    settings: MakeSettings, tmp_path: Path
) -> None:
    await enrol(settings())
    opened = await open_store_and_vault(settings())
    for number in (3, 7):
        account = await opened.store.accounts.get(email(number))
        assert account is not None
        assert account.sealed_key is not None
        await opened.store.accounts.set_key(account.id, account.sealed_key[:-2], None)
    await opened.store.close()
    with pytest.raises(VaultError, match=f"{email(3)}, {email(7)}") as caught:
        await rotate(settings())
    assert "set-key" in (caught.value.hint or "")
    assert not (tmp_path / "data" / NEXT_KEY_FILE).exists()


async def test_a_new_key_that_was_lost_is_asked_for(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await enrol(settings())
    with monkeypatch.context() as patch:
        killed_after(patch, Sealing, "replace", 1)
        with pytest.raises(Killed):
            await rotate(settings())
    text = (tmp_path / "data" / NEXT_KEY_FILE).read_text()
    (tmp_path / "data" / NEXT_KEY_FILE).unlink()
    for attempt in (open_store_and_vault, rotate):
        with pytest.raises(WrongMasterKey) as caught:
            await attempt(settings())
        assert NEXT_KEY_FILE in (caught.value.hint or "")
    (tmp_path / "data" / NEXT_KEY_FILE).write_text(text)
    await rotate(settings())
    await all_open(settings())


async def test_a_key_that_sealed_nothing_may_be_forgotten(settings: MakeSettings) -> None:
    await enrol(settings(DB_ENCRYPTION_KEY=ONE))
    await all_open(settings(DB_ENCRYPTION_KEY=TWO, DB_ENCRYPTION_KEY_PREVIOUS=ONE))
    await all_open(settings(DB_ENCRYPTION_KEY=ONE))
    await rotate(settings(DB_ENCRYPTION_KEY=THREE, DB_ENCRYPTION_KEY_PREVIOUS=ONE))
    await all_open(settings(DB_ENCRYPTION_KEY=THREE))


async def test_others_get_to_write_between_two_batches(settings: MakeSettings) -> None:
    await enrol(settings())
    other = await open_store_and_vault(settings())
    accounts = Accounts(other.store, other.vault)
    rotating = asyncio.create_task(rotate(settings()))
    seq, _ = await other.store.changes.since(0)
    while (await other.store.changes.since(seq))[0] == seq:
        assert not rotating.done()
    await accounts.set_key(email(1), key(1))
    await accounts.set_key(email(USERS - 1), key(USERS - 1))
    assert not rotating.done()
    await rotating
    await other.store.close()
    await all_open(settings())
