"""Which user of Open WebUI an account belongs to. Part of the accounts, in a file of its own."""

from __future__ import annotations

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from nanogpt_proxy.errors import AccountExists, BoundOtherwise, NoSuchAccount
from nanogpt_proxy.store import changes
from nanogpt_proxy.store.database import Database
from nanogpt_proxy.store.tables import accounts


class Bindings:
    """Each method is one transaction; each change of an account is recorded within it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bind(self, account_id: str, user_id: str) -> None:
        """Binds an account that is not bound; nothing if it is bound to this user already.

        Raises `NoSuchAccount`, and `BoundOtherwise` when account or user belong to another.
        """

        def work(connection: Connection) -> None:
            found = select(accounts.c.email, accounts.c.bound_id).where(accounts.c.id == account_id)
            row = connection.execute(found).first()
            if row is None:
                raise NoSuchAccount("the user has just been deleted")
            if row.bound_id is not None and row.bound_id != user_id:
                raise BoundOtherwise("the account belongs to another user of Open WebUI")
            if row.bound_id is None:
                change = update(accounts).where(accounts.c.id == account_id)
                try:
                    connection.execute(change.values(bound_id=user_id))
                except IntegrityError:
                    raise BoundOtherwise("the user of Open WebUI has another account") from None
                changes.record(connection, row.email)

        await self._database.write(work)

    async def move(self, user_id: str, email: str) -> str | None:
        """Gives the account of this user another e-mail. The one it had; `None` if there is no
        such account.

        Raises `AccountExists` when another account has that e-mail.
        """

        def work(connection: Connection) -> str | None:
            found = select(accounts.c.id, accounts.c.email).where(accounts.c.bound_id == user_id)
            row = connection.execute(found).first()
            if row is None or row.email == email:
                return None if row is None else email
            try:
                connection.execute(
                    update(accounts).where(accounts.c.id == row.id).values(email=email)
                )
            except IntegrityError:
                raise AccountExists(f"there is a user {email} already") from None
            changes.record(connection, row.email)
            changes.record(connection, email)
            return str(row.email)

        return await self._database.write(work)

    async def has(self, user_id: str) -> bool:
        """Whether some account belongs to this user."""
        query = select(accounts.c.id).where(accounts.c.bound_id == user_id)
        return await self._database.read(lambda c: c.execute(query).first()) is not None

    async def unbind(self, account_id: str | None) -> int:
        """Frees this account, or all of them: so many were bound."""
        change = update(accounts).where(accounts.c.bound_id.is_not(None)).values(bound_id=None)
        if account_id is not None:
            change = change.where(accounts.c.id == account_id)

        def work(connection: Connection) -> int:
            emails = connection.execute(change.returning(accounts.c.email)).scalars().all()
            for email in emails:
                changes.record(connection, email)
            return len(emails)

        return await self._database.write(work)
