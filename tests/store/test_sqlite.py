"""Pragmas, and the lock that lets one process migrate at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from nanogpt_proxy.errors import StoreError, StoreUnavailable
from nanogpt_proxy.store import sqlite


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = sqlite.make_engine(tmp_path / "proxy.db")
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000), ("trusted_schema", 0)],
)
def test_every_connection_is_set_up(engine: Engine, pragma: str, value: int) -> None:
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_wal_mode_is_kept_in_the_file(engine: Engine) -> None:
    assert not sqlite.in_wal_mode(engine)
    sqlite.set_wal_mode(engine)
    assert sqlite.in_wal_mode(engine)


def test_a_database_without_wal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sqlite.make_engine(Path(":memory:"))
    with pytest.raises(StoreError, match="WAL"):
        sqlite.set_wal_mode(engine)
    engine.dispose()


def test_errors_of_the_bare_driver_are_translated_too(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"x" * 5000)
    damaged = sqlite.make_engine(tmp_path / "damaged.db")
    with pytest.raises(DatabaseError):
        sqlite.in_wal_mode(damaged)
    missing = sqlite.make_engine(tmp_path / "no" / "folder.db")
    with pytest.raises(OperationalError):
        sqlite.in_wal_mode(missing)
    damaged.dispose()
    missing.dispose()


def test_the_lock_waits_for_the_other_and_then_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "proxy.db"
    order: list[str] = []

    def second() -> None:
        with sqlite.migration_lock(path):
            order.append("second")

    with sqlite.migration_lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    path = tmp_path / "proxy.db"
    with (
        sqlite.migration_lock(path),
        pytest.raises(StoreUnavailable, match="another process"),
        sqlite.migration_lock(path, seconds=0),
    ):
        raise AssertionError("two at once")


def test_a_process_that_dies_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "proxy.db"
    code = (
        "import os, pathlib, sys\n"
        "from nanogpt_proxy.store.sqlite import migration_lock\n"
        "with migration_lock(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    with sqlite.migration_lock(path, seconds=0):
        pass
