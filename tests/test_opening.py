"""Which encryption key a database opens with, and what is said about it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.errors import ConfigurationError, WrongMasterKey
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import open_store, open_store_and_vault
from nanogpt_proxy.settings import Settings, load
from nanogpt_proxy.vault.master_keys import KEY_FILE

ONE, TWO = "0123456789abcdef" * 4, "fedcba9876543210" * 4
KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")
MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    def make(**environ: str) -> Settings:
        return load({"DATA_DIR": str(tmp_path / "data"), **environ}, cwd=tmp_path, prefix=tmp_path)

    return make


async def use(settings: Settings, email: str | None = None) -> tuple[bool, tuple[str, ...]]:
    opened = await open_store_and_vault(settings)
    if email:
        await Accounts(opened.store, opened.vault).add(email, KEY)
    await opened.store.close()
    return opened.first_start, opened.notes


async def test_the_first_start_makes_a_key_and_says_to_back_it_up(
    settings: MakeSettings, tmp_path: Path
) -> None:
    first_start, notes = await use(settings())
    assert first_start
    (note,) = notes
    assert "back up" in note
    assert str(tmp_path / "data" / KEY_FILE) in note
    assert await use(settings()) == (False, ())


async def test_a_given_key_leaves_no_file(settings: MakeSettings, tmp_path: Path) -> None:
    assert await use(settings(DB_ENCRYPTION_KEY=ONE)) == (False, ())
    assert not (tmp_path / "data" / KEY_FILE).exists()


@pytest.mark.parametrize("email", [None, "alice@example.com"])
async def test_another_key_is_refused_even_before_there_are_users(
    settings: MakeSettings, email: str | None
) -> None:
    await use(settings(DB_ENCRYPTION_KEY=ONE), email)
    with pytest.raises(WrongMasterKey, match="DB_ENCRYPTION_KEY") as caught:
        await use(settings(DB_ENCRYPTION_KEY=TWO))
    assert caught.value.hint is not None
    assert ONE not in str(caught.value) + caught.value.hint
    assert TWO not in str(caught.value) + caught.value.hint
    await use(settings(DB_ENCRYPTION_KEY=ONE))


async def test_a_given_key_wins_over_the_file_and_the_check_value_decides(
    settings: MakeSettings, tmp_path: Path
) -> None:
    await use(settings())
    with pytest.raises(WrongMasterKey) as caught:
        await use(settings(DB_ENCRYPTION_KEY=ONE))
    assert caught.value.hint is not None
    assert "remove DB_ENCRYPTION_KEY" in caught.value.hint
    key = (tmp_path / "data" / KEY_FILE).read_text().strip()
    await use(settings(DB_ENCRYPTION_KEY=key))


async def test_another_key_file_is_refused(settings: MakeSettings, tmp_path: Path) -> None:
    await use(settings())
    (tmp_path / "data" / KEY_FILE).write_text(ONE)
    with pytest.raises(WrongMasterKey, match=KEY_FILE):
        await use(settings())


@pytest.mark.parametrize("email", [None, "alice@example.com"])
async def test_a_lost_key_file_is_not_replaced(
    settings: MakeSettings, tmp_path: Path, email: str | None
) -> None:
    await use(settings(), email)
    (tmp_path / "data" / KEY_FILE).unlink()
    with pytest.raises(ConfigurationError, match="backup"):
        await use(settings())
    assert not (tmp_path / "data" / KEY_FILE).exists()


async def test_a_lost_check_value_is_not_replaced_by_a_wrong_one(settings: MakeSettings) -> None:
    await use(settings(DB_ENCRYPTION_KEY=ONE), "alice@example.com")
    store = await open_store(settings())
    await store.meta.set("check_value", "")
    await store._database.write(lambda c: c.exec_driver_sql("DELETE FROM meta"))
    await store.close()
    with pytest.raises(WrongMasterKey):
        await use(settings(DB_ENCRYPTION_KEY=TWO))
    await use(settings(DB_ENCRYPTION_KEY=ONE))


async def test_two_first_starts_at_once_agree(settings: MakeSettings) -> None:
    opened = await asyncio.gather(*(open_store_and_vault(settings()) for _ in range(6)))
    assert len({each.vault.key_id for each in opened}) == 1
    assert sum(each.first_start for each in opened) == 1
    for each in opened:
        await each.store.close()


async def test_a_key_file_that_others_may_read_is_mentioned(
    settings: MakeSettings, tmp_path: Path
) -> None:
    await use(settings())
    (tmp_path / "data" / KEY_FILE).chmod(0o644)
    _, (note,) = await use(settings())
    assert "chmod 600" in note
    key = (tmp_path / "data" / KEY_FILE).read_text().strip()
    assert await use(settings(DB_ENCRYPTION_KEY=key)) == (False, ())


async def test_a_data_dir_that_cannot_be_used_is_named(
    settings: MakeSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    wrong = dataclasses.replace(
        settings(DATABASE_URL=f"sqlite:///{tmp_path}/elsewhere.db"), data_dir=tmp_path / "file"
    )
    with pytest.raises(ConfigurationError, match="DATA_DIR"):
        await use(wrong)


async def test_the_database_may_be_elsewhere(settings: MakeSettings, tmp_path: Path) -> None:
    await use(settings(DATABASE_URL=f"sqlite:///{tmp_path}/elsewhere/users.db"))
    assert (tmp_path / "elsewhere" / "users.db").exists()
    assert [path.name for path in (tmp_path / "data").iterdir()] == [KEY_FILE]
