"""Named values that belong to the whole database."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from nanogpt_proxy.errors import OutdatedSeal
from nanogpt_proxy.store.database import Database
from nanogpt_proxy.store.tables import meta

CHECK_VALUE = "check_value"
"""See `vault.Vault.check_value`. It names the master key that seals."""
NEXT_CHECK_VALUE = "next_check_value"
"""The same of the master key that takes its place; there while keys are sealed anew."""


def value_of(connection: Connection, name: str) -> str | None:
    return connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()


def set_value(connection: Connection, name: str, value: str) -> None:
    change = update(meta).where(meta.c.name == name).values(value=value)
    if connection.execute(change).rowcount == 0:
        connection.execute(insert(meta).values(name=name, value=value))


def prefix_of(sealed: str) -> str:
    """All before the last dot of a sealed text, which names its format and its master key."""
    return sealed.rpartition(".")[0] + "."


def guard(connection: Connection, sealed: str | None) -> None:
    """Keeps out what a process has sealed that does not know yet which key is in use now.

    To be called inside the transaction that writes it. Raises `OutdatedSeal`.
    """
    checks = [value_of(connection, name) for name in (CHECK_VALUE, NEXT_CHECK_VALUE)]
    if sealed is None or checks[0] is None or _format(sealed) != _format(checks[0]):
        return
    if prefix_of(sealed) not in {prefix_of(check) for check in checks if check}:
        raise OutdatedSeal("the encryption key was changed meanwhile: try again")


def _format(text: str) -> str:
    return text.partition(".")[0]


class Meta:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        return await self._database.read(lambda connection: value_of(connection, name))

    async def set(self, name: str, value: str) -> None:
        await self._database.write(lambda connection: set_value(connection, name, value))

    async def set_if_absent(self, name: str, value: str) -> str:
        """The value in force afterwards: of several that set it at once, the first one's.

        Raises `OutdatedSeal`.
        """

        def work(connection: Connection) -> str:
            there = value_of(connection, name)
            if there is None:
                guard(connection, value)
                connection.execute(insert(meta).values(name=name, value=value))
            return value if there is None else there

        return await self._database.write(work)
