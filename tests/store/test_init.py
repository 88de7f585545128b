"""Opening the store: files, modes, revisions, and what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogpt_proxy.errors import StoreError, StoreUnavailable
from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store, schema

NewAccount = Callable[..., StoredAccount]


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_files_are_for_their_owner_alone(tmp_path: Path, account: NewAccount) -> None:
    before = os.umask(0)
    try:
        store = await Store.open(tmp_path / "data" / "proxy.db")
        await store.accounts.add(account())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    found = modes(tmp_path / "data")
    assert {"proxy.db", "proxy.db-wal", "proxy.db-shm"} <= set(found)
    assert set(found.values()) == {0o600}
    await store.close()


async def test_the_first_open_makes_the_tables_and_the_next_does_not(place: Path) -> None:
    store = await Store.open(place)
    assert store.migrated
    assert store.revision == schema.HEAD
    await store.close()
    store = await Store.open(place)
    assert not store.migrated
    await store.close()


async def test_many_may_open_a_new_database_at_once(place: Path) -> None:
    stores = await asyncio.gather(*(Store.open(place) for _ in range(8)))
    assert sum(store.migrated for store in stores) == 1
    for store in stores:
        await store.ping()
        await store.close()


async def test_it_opens_by_address_too(tmp_path: Path, account: NewAccount) -> None:
    path = tmp_path / "odd ?#% name" / "proxy.db"
    store = await Store.open(path)
    await store.accounts.add(account())
    await store.close()
    store = await Store.open(f"sqlite:///{tmp_path}/plain.db")
    await store.ping()
    await store.close()
    assert (tmp_path / "plain.db").exists()
    assert path.exists()


@pytest.mark.parametrize("place", ["postgresql://u:secret@h/db", "sqlite://", "nonsense"])
async def test_another_kind_of_address_is_refused_without_repeating_it(place: str) -> None:
    with pytest.raises(StoreError, match="address of the database") as caught:
        await Store.open(place)
    assert "secret" not in str(caught.value)


async def test_a_newer_database_is_left_alone(place: Path) -> None:
    await (await Store.open(place)).close()
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="newer release") as caught:
        await Store.open(place)
    assert caught.value.hint is not None
    assert "backup" in caught.value.hint


@pytest.fixture
def damaged(place: Path) -> Path:
    place.parent.mkdir()
    place.write_bytes(b"not a database at all, " * 100)
    return place


async def test_a_file_that_is_no_database_is_named(damaged: Path) -> None:
    with pytest.raises(StoreError, match="not a database") as caught:
        await Store.open(damaged)
    assert not isinstance(caught.value, StoreUnavailable)
    assert str(damaged) in str(caught.value)


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used") as caught:
        await Store.open(tmp_path / "file" / "proxy.db")
    assert caught.value.hint is not None


async def test_the_wal_is_put_back_where_it_was_lost(place: Path) -> None:
    await (await Store.open(place)).close()
    connection = sqlite3.connect(place)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    store = await Store.open(place)
    assert not store.migrated
    connection = sqlite3.connect(place)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    await store.close()


async def test_a_look_sees_commits_of_this_and_other_processes(
    store: Store, second: Store, account: NewAccount
) -> None:
    assert await store.look()
    assert not await store.look()
    await second.accounts.add(account())
    assert await store.look()
    assert not await store.look()
    await store.accounts.add(account("bob@example.com"))
    assert await store.look()
    assert not await store.look()


@pytest.mark.parametrize("new", [True, False])
async def test_a_start_without_migration_imports_no_alembic(place: Path, new: bool) -> None:
    if not new:
        await (await Store.open(place)).close()
    code = (
        "import asyncio, pathlib, sys\n"
        "from nanogpt_proxy.store import Store\n"
        "async def main():\n"
        "    await (await Store.open(pathlib.Path(sys.argv[1]))).close()\n"
        "asyncio.run(main())\n"
        "heavy = ['alembic', 'sqlalchemy.orm', 'sqlalchemy.ext.asyncio', 'cryptography']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = await asyncio.to_thread(
        lambda: subprocess.run([sys.executable, "-c", code, place], capture_output=True, check=True)
    )
    assert done.stdout == b"[]\n"
