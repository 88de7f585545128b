"""Which master key the rows are sealed by, and how they get from one to another.

The check value has the prefix of the key in use, the next check value that of the key to come.
Other named values may be sealed too; the owner of one is its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Select, delete, func, not_, select, update

from nanogpt_proxy.store import changes
from nanogpt_proxy.store.database import Database
from nanogpt_proxy.store.meta import CHECK_VALUE, NEXT_CHECK_VALUE, prefix_of, set_value
from nanogpt_proxy.store.tables import accounts, meta


class Sealing:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def prefixes(self) -> frozenset[str]:
        """Those that occur among the accounts."""
        query = select(accounts.c.sealed_key).where(accounts.c.sealed_key.is_not(None))
        rows = await self._database.read(lambda c: c.execute(query).scalars().all())
        return frozenset(map(prefix_of, rows))

    async def sealed_otherwise(
        self, prefix: str, *, most: int | None = None
    ) -> Sequence[tuple[str, str, str]]:
        """Id, e-mail and sealed key of accounts whose key has another prefix."""
        columns = select(accounts.c.id, accounts.c.email, accounts.c.sealed_key)
        query = columns.where(_otherwise(prefix)).order_by(accounts.c.id).limit(most)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(row.id, row.email, row.sealed_key) for row in rows]

    async def replace(self, renewed: Mapping[str, tuple[str, str]]) -> None:
        """By account id: the sealed key that was read, and the same key sealed anew.

        In one transaction. Whatever was changed or deleted in between is passed over.
        """

        def work(connection: Connection) -> None:
            for account_id, (old, new) in renewed.items():
                change = (
                    update(accounts)
                    .where(accounts.c.id == account_id, accounts.c.sealed_key == old)
                    .values(sealed_key=new)
                )
                email = connection.execute(change.returning(accounts.c.email)).scalar()
                if email is not None:
                    changes.record(connection, email)

        await self._database.write(work)

    async def values_sealed_otherwise(self, prefix: str) -> Sequence[tuple[str, str]]:
        """Name and sealed value, the check values left out."""
        query = _other_values(prefix)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [(row.name, row.value) for row in rows]

    async def replace_value(self, name: str, old: str, new: str) -> None:
        """Nothing if it was changed in between."""
        change = update(meta).where(meta.c.name == name, meta.c.value == old).values(value=new)
        await self._database.write(lambda connection: connection.execute(change))

    async def finish(self, check_value: str) -> bool:
        """Makes the key of this check value the one in use, if all that is sealed is its.

        From then on no key of an account is written that another one has sealed.
        """
        prefix = prefix_of(check_value)

        def work(connection: Connection) -> bool:
            if connection.execute(select(accounts.c.id).where(_otherwise(prefix))).first():
                return False
            if connection.execute(_other_values(prefix)).first():
                return False
            set_value(connection, CHECK_VALUE, check_value)
            connection.execute(delete(meta).where(meta.c.name == NEXT_CHECK_VALUE))
            return True

        return await self._database.write(work)


def _other_values(prefix: str) -> Select[tuple[str, str]]:
    kind = prefix.partition(".")[0] + "."
    return select(meta.c.name, meta.c.value).where(
        meta.c.name.not_in([CHECK_VALUE, NEXT_CHECK_VALUE]),
        meta.c.value.startswith(kind),
        not_(meta.c.value.startswith(prefix)),
    )


def _otherwise(prefix: str) -> ColumnElement[bool]:
    return func.substr(accounts.c.sealed_key, 1, len(prefix)) != prefix
