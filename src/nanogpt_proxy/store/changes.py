"""Which accounts have changed, for those who hold accounts in memory."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from nanogpt_proxy.store.database import Database
from nanogpt_proxy.store.tables import change_counter, changes

KEPT = 256
"""So many changes are remembered; whoever is further behind forgets everything."""


def record(connection: Connection, email: str) -> None:
    """To be called inside the transaction that changes the account."""
    bump = update(change_counter).values(seq=change_counter.c.seq + 1)
    seq = connection.execute(bump.returning(change_counter.c.seq)).scalar_one()
    connection.execute(insert(changes).values(seq=seq, email=email))
    connection.execute(delete(changes).where(changes.c.seq <= seq - KEPT))


class Changes:
    """The change counter. It counts changes of accounts alone, not of their use."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, seq: int) -> tuple[int, frozenset[str] | None]:
        """The counter now, and the e-mails whose accounts have changed after it was `seq`.

        `None` in place of the e-mails: it is not known which ones, take it as all.
        """

        def work(connection: Connection) -> tuple[int, frozenset[str] | None]:
            latest = connection.execute(select(change_counter.c.seq)).scalar_one()
            if latest == seq:
                return latest, frozenset()
            later = select(changes.c.email).where(changes.c.seq > seq)
            emails = connection.execute(later).scalars().all()
            # Fewer: pruned. More, or a counter that went back: another database in its place.
            return latest, frozenset(emails) if len(emails) == latest - seq else None

        return await self._database.read(work)
