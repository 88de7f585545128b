"""Runs work on the database in threads, and translates what the libraries raise.

Core's synchronous engine in a few threads, not `sqlalchemy.ext.asyncio`: that would load the whole
ORM (6 MB and a quarter of the import time) to do the same, and a driver in a thread as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nanogpt_proxy.errors import StoreError, StoreUnavailable

T = TypeVar("T")

THREADS = 4
WRITE = "nanogpt_proxy_write"
"""Execution option of a connection that is going to write; see `sqlite.begin`."""


class Watcher(Protocol):
    """Tells cheaply whether anything was committed since the last call; tidies up."""

    def look(self) -> bool: ...

    def compact(self) -> None: ...

    def close(self) -> None: ...


class Database:
    """One engine and the threads that use it. Made by `Store.open`."""

    def __init__(self, engine: Engine, watcher: Watcher, place: str) -> None:
        self._engine = engine
        self._watcher = watcher
        self._place = place
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        # Writers wait here, not in the threads, where they would keep readers out.
        self._writing = asyncio.Lock()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction: everything it reads is of one moment."""

        def run() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return await self._run(run)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction that may write; it is safe on disk when this returns.

        A caller that is cancelled does not know whether the transaction happened.
        """

        def run() -> T:
            with self._engine.connect().execution_options(**{WRITE: True}) as connection:
                with connection.begin():
                    return work(connection)

        async with self._writing:
            return await self._run(run)

    async def look(self) -> bool:
        """Whether anything may have been committed since the last call that answered."""
        return await self._run(self._watcher.look)

    async def compact(self) -> None:
        """Writes the files anew, without what was changed or deleted."""
        async with self._writing:
            await self._run(self._watcher.compact)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._watcher.close()
        self._engine.dispose()

    async def _run(self, work: Callable[[], T]) -> T:
        def translated() -> T:
            with translating(self._place):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._threads, translated)


@contextmanager
def translating(place: str) -> Iterator[None]:
    """Turns SQLAlchemy's exceptions into ours, without statements and values."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable(f"the database {place} cannot be used now: {_why(error)}") from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database {place} cannot be used: {_why(error)}") from None


def _why(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__
