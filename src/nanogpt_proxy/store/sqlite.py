"""How SQLite is opened: files, pragmas, transactions, the lock for migrations."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from nanogpt_proxy.errors import StoreError, StoreUnavailable
from nanogpt_proxy.private_files import private_directory, touch_private
from nanogpt_proxy.store.database import THREADS, WRITE

_BUSY_MS = 5000
_LOCK_SECONDS = 60.0
_LOCK_POLL = 0.05


def prepare_files(path: Path) -> None:
    """The database file with mode 0600 in a directory; SQLite gives the WAL the same mode."""
    private_directory(path.parent)
    touch_private(path)


def make_engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=THREADS,
        max_overflow=0,
        hide_parameters=True,  # they hold e-mails and sealed keys
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", begin)
    return engine


def _set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transactions begin late, only before a write: ours begin where we say.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "synchronous = FULL",  # what was acknowledged survives a power cut
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        connection.cursor().execute(f"PRAGMA {pragma}")


def begin(connection: Connection) -> None:
    """Writers lock at once: one that has read first could not wait, only fail."""
    write = connection.get_execution_options().get(WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def in_wal_mode(engine: Engine) -> bool:
    return _pragma(engine, "journal_mode") == "wal"


def set_wal_mode(engine: Engine) -> None:
    """Readers and a writer do not wait for each other. It is kept in the file."""
    if _pragma(engine, "journal_mode = WAL") != "wal":
        raise StoreError(
            "the database cannot be put into WAL mode",
            hint="DATA_DIR must be on a local disk, not on a network share",
        )


def _pragma(engine: Engine, text: str) -> str:
    with _translated():
        connection = engine.raw_connection()
    try:
        return _ask(connection, text).lower()
    finally:
        connection.close()


def _ask(connection: PoolProxiedConnection, pragma: str) -> str:
    """Straight through the driver: SQLAlchemy would begin a transaction around it."""
    with _translated():
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        (value,) = cursor.fetchone() or ("",)
        cursor.close()
        return str(value)


@contextmanager
def _translated() -> Iterator[None]:
    """SQLAlchemy's exceptions for those of a driver connection that is used without it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OperationalError(None, None, error) from None
    except sqlite3.Error as error:
        raise DatabaseError(None, None, error) from None


@contextmanager
def migration_lock(path: Path, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """One process at a time, on this machine. Ends with the process, however that ends."""
    lock = path.with_name(f"{path.name}.lock")
    touch_private(lock)
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + seconds
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another process still migrates the database {path}")
            time.sleep(_LOCK_POLL)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class DataVersion:
    """`PRAGMA data_version` on a connection of its own: counts the commits of all others."""

    def __init__(self, engine: Engine) -> None:
        with _translated():
            self._connection = engine.raw_connection()
        self._connection.detach()  # never lent to others, whose commits it would not count
        self._seen = -1

    def look(self) -> bool:
        now = int(_ask(self._connection, "data_version"))
        changed, self._seen = now != self._seen, now
        return changed

    def compact(self) -> None:
        """SQLite leaves old content in free pages, and in the write-ahead log."""
        with _translated():
            cursor = self._connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (busy, *_) = cursor.fetchone() or (1,)
            cursor.close()
        if busy:
            raise StoreUnavailable("the database is too busy to be tidied up: try again")

    def close(self) -> None:
        self._connection.close()
