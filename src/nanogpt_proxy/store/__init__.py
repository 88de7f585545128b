"""The database: `Store.open` is the door, one file per aggregate behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ArgumentError

from nanogpt_proxy.errors import StoreError
from nanogpt_proxy.store import schema, sqlite
from nanogpt_proxy.store.accounts import AccountTable
from nanogpt_proxy.store.bindings import Bindings
from nanogpt_proxy.store.changes import Changes
from nanogpt_proxy.store.database import Database, translating
from nanogpt_proxy.store.meta import Meta
from nanogpt_proxy.store.sealing import Sealing

__all__ = ["Store"]


class Store:
    """An open database whose tables are those of this release.

    Every method here and behind the attributes may raise `StoreUnavailable` (try again later) or
    another `StoreError`.
    """

    def __init__(self, database: Database, *, migrated: bool) -> None:
        self._database = database
        self.migrated = migrated
        """Whether opening it has run migrations."""
        self.accounts = AccountTable(database)
        self.bindings = Bindings(database)
        self.changes = Changes(database)
        self.meta = Meta(database)
        self.sealing = Sealing(database)

    @property
    def revision(self) -> str:
        return schema.HEAD

    @classmethod
    async def open(cls, place: Path | str) -> Store:
        """Opens, and makes and migrates where due. `place`: a file, or `sqlite:///` and a path."""
        path = _path(place)
        return await asyncio.to_thread(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> Store:
        try:
            return cls._open_files(path)
        except OSError as error:
            raise StoreError(
                f"the database {path} cannot be used: {error.strerror}",
                hint="DATA_DIR must be a directory that the user who runs the proxy may write to",
            ) from None

    @classmethod
    def _open_files(cls, path: Path) -> Store:
        sqlite.prepare_files(path)
        engine = sqlite.make_engine(path)
        try:
            with translating(str(path)):
                migrated = _migrate_if_due(engine, path)
                watcher = sqlite.DataVersion(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(Database(engine, watcher, str(path)), migrated=migrated)

    async def look(self) -> bool:
        """Whether anything may have been committed since the last look, here or elsewhere.

        Cheap. Says no more than "look": most commits are not changes of accounts.
        """
        return await self._database.look()

    async def ping(self) -> None:
        """Returns when the database answers."""
        await self._database.read(lambda connection: connection.execute(text("SELECT 1")))

    async def forget_the_past(self) -> None:
        """Leaves nothing in the files of what was changed or deleted; others go on meanwhile."""
        await self._database.compact()

    async def close(self) -> None:
        await self._database.close()


def _path(place: Path | str) -> Path:
    if isinstance(place, Path):
        return place
    try:
        url = make_url(place)
    except ArgumentError:
        raise StoreError("the address of the database cannot be read") from None
    if url.drivername != "sqlite" or not url.database:
        raise StoreError("the address of the database is not sqlite:/// and a path")
    return Path(url.database)


def _migrate_if_due(engine: Engine, path: Path) -> bool:
    if schema.current_revision(engine) == schema.HEAD and sqlite.in_wal_mode(engine):
        return False
    with sqlite.migration_lock(path):
        due = schema.current_revision(engine) != schema.HEAD
        sqlite.set_wal_mode(engine)
        schema.upgrade(engine)
        return due
