"""The accounts. E-mails are canonical and keys are sealed before they get here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Delete,
    Row,
    Update,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from nanogpt_proxy.errors import AccountExists, NoSuchAccount
from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import changes
from nanogpt_proxy.store.database import Database
from nanogpt_proxy.store.meta import guard
from nanogpt_proxy.store.tables import accounts


def _account(row: Row[Any]) -> StoredAccount:
    return StoredAccount(**row._mapping)


class AccountTable:
    """Each method is one transaction; each change of an account is recorded within it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: StoredAccount) -> None:
        """Raises `AccountExists` or `OutdatedSeal`."""

        def work(connection: Connection) -> None:
            guard(connection, account.sealed_key)
            _insert(connection, account)
            changes.record(connection, account.email)

        await self._database.write(work)

    async def bring(
        self, added: Sequence[StoredAccount], changed: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Adds accounts, and changes others: by id the columns that get another value.

        All in one transaction, or none. Raises `AccountExists`, `NoSuchAccount`, `OutdatedSeal`.
        """

        def work(connection: Connection) -> None:
            for account in added:
                guard(connection, account.sealed_key)
                _insert(connection, account)
                changes.record(connection, account.email)
            for account_id, values in changed.items():
                change = update(accounts).values(**values)
                _alter(connection, change, account_id, values.get("sealed_key"))

        await self._database.write(work)

    async def get(self, email: str) -> StoredAccount | None:
        return await self._first(accounts.c.email == email)

    async def get_by_id(self, account_id: str) -> StoredAccount | None:
        return await self._first(accounts.c.id == account_id)

    async def list_all(self) -> list[StoredAccount]:
        """In the order of their e-mails."""
        rows = await self._database.read(lambda c: c.execute(select(accounts)).all())
        # Sorted here: databases disagree about the order of text.
        return sorted(map(_account, rows), key=lambda account: account.email)

    async def set_key(self, account_id: str, sealed_key: str | None, key_hint: str | None) -> None:
        """Raises `NoSuchAccount` or `OutdatedSeal`. A new key does not count as rejected."""
        change = update(accounts).values(
            sealed_key=sealed_key, key_hint=key_hint, key_rejected_at=None
        )
        await self._change_with(change, account_id, sealed_key)

    async def set_key_rejected(
        self, account_id: str, sealed_key: str, rejected_at: datetime | None
    ) -> None:
        """Marks the key, or takes the mark away; nothing where there is another key by now."""
        change = (
            update(accounts)
            .where(accounts.c.id == account_id)
            .where(accounts.c.sealed_key == sealed_key)
            .where(accounts.c.key_rejected_at.is_(None) == (rejected_at is not None))
            .values(key_rejected_at=rejected_at)
            .returning(accounts.c.email)
        )

        def work(connection: Connection) -> None:
            for email in connection.execute(change).scalars().all():
                changes.record(connection, email)

        await self._database.write(work)

    async def set_disabled(self, account_id: str, disabled: bool) -> None:
        """Raises `NoSuchAccount`."""
        await self._change_with(update(accounts).values(disabled=disabled), account_id)

    async def delete(self, account_id: str) -> None:
        """Raises `NoSuchAccount`."""
        await self._change_with(delete(accounts), account_id)

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Remembers when accounts (by id) were last used. Not a change of the account.

        An earlier time than the one there, and an account that is gone, are passed over.
        """
        if not used:
            return
        statement = (
            update(accounts)
            .where(accounts.c.id == bindparam("account_id"))
            .where(
                or_(accounts.c.last_used_at.is_(None), accounts.c.last_used_at < bindparam("at"))
            )
            .values(last_used_at=bindparam("at"))
        )
        rows = [{"account_id": account_id, "at": at} for account_id, at in used.items()]
        await self._database.write(lambda connection: connection.execute(statement, rows))

    async def any_sealed(self) -> StoredAccount | None:
        """Some account that has a key; `None` if there is none."""
        return await self._first(accounts.c.sealed_key.is_not(None))

    async def holds_keys(self) -> bool:
        return await self.any_sealed() is not None

    async def _first(self, condition: Any) -> StoredAccount | None:
        query = select(accounts).where(condition).limit(1)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _account(row)

    async def _change_with(
        self, statement: Update | Delete, account_id: str, sealed_key: str | None = None
    ) -> None:
        await self._database.write(lambda c: _alter(c, statement, account_id, sealed_key))


def _insert(connection: Connection, account: StoredAccount) -> None:
    try:
        connection.execute(insert(accounts).values(**_values(account)))
    except IntegrityError:
        raise AccountExists(f"there is a user {account.email} already") from None


def _alter(
    connection: Connection, statement: Update | Delete, account_id: str, sealed_key: str | None
) -> None:
    guard(connection, sealed_key)
    change = statement.where(accounts.c.id == account_id).returning(accounts.c.email)
    email = connection.execute(change).scalar()
    if email is None:
        raise NoSuchAccount("the user has just been deleted")
    changes.record(connection, email)


def _values(account: StoredAccount) -> dict[str, Any]:
    return {column.name: getattr(account, column.name) for column in accounts.columns}
