"""Threads, waiting, and the translation of what the libraries raise."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nanogpt_proxy.errors import StoreError, StoreUnavailable
from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.database import THREADS, translating

NewAccount = Callable[..., StoredAccount]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            OperationalError("SELECT", {}, sqlite3.OperationalError("locked\n now")),
            StoreUnavailable,
        ),
        (PoolTimeout("no connection"), StoreUnavailable),
        (ProgrammingError("SELECT", {}, sqlite3.ProgrammingError("a bug")), StoreError),
    ],
)
def test_foreign_errors_become_ours(error: Exception, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as caught, translating("/data/proxy.db"):
        raise error
    assert type(caught.value) is kind
    assert "/data/proxy.db" in caught.value.message
    assert "SELECT" not in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.__suppress_context__


async def test_an_error_never_tells_the_values(store: Store, account: NewAccount) -> None:
    with pytest.raises(StoreError) as caught:
        await store.accounts.touch({"id": "not a time"})  # type: ignore[dict-item]
    assert "not a time" not in caught.value.message


async def test_a_locked_database_can_be_read_and_is_unavailable_for_writers(
    store: Store, place: Path, account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store._database.read(lambda c: c.exec_driver_sql("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await store.accounts.list_all() == []
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.accounts.add(account())
    other.execute("ROLLBACK")
    other.close()
    await store.accounts.add(account())


async def test_writers_that_wait_keep_no_reader_out(store: Store, account: NewAccount) -> None:
    go_on = threading.Event()
    waiting = [
        asyncio.ensure_future(store._database.write(lambda _: go_on.wait(10)))
        for _ in range(2 * THREADS)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await store.accounts.get("nobody@example.com") is None
    go_on.set()
    assert all(await asyncio.gather(*waiting))


async def test_a_transaction_that_fails_leaves_nothing(store: Store, account: NewAccount) -> None:
    await store.accounts.add(account())

    def fail(connection: object) -> None:
        connection.exec_driver_sql("DELETE FROM accounts")  # type: ignore[attr-defined]
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        await store._database.write(fail)
    assert len(await store.accounts.list_all()) == 1
