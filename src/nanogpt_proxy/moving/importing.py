"""Brings users in: says first what it would do, then does all of it or nothing."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from nanogpt_proxy.errors import OutdatedSeal
from nanogpt_proxy.models import StoredAccount, key_hint
from nanogpt_proxy.moving.entries import Entry
from nanogpt_proxy.opening import follow_keys
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault


class Fate(StrEnum):
    """What becomes of an entry; the words that people read."""

    ADD = "add"
    REPLACE = "replace"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Planned:
    entry: Entry
    fate: Fate
    there: StoredAccount | None
    """The account that there is already."""


def _now() -> datetime:
    return datetime.now(UTC)


class Import:
    def __init__(self, store: Store, vault: Vault, *, clock: Callable[[], datetime] = _now) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def plan(self, entries: Sequence[Entry], *, replace: bool) -> list[Planned]:
        """In the order of the entries. Writes nothing."""
        there = {account.email: account for account in await self._store.accounts.list_all()}
        known = Fate.REPLACE if replace else Fate.KEEP
        return [
            Planned(entry, known if entry.email in there else Fate.ADD, there.get(entry.email))
            for entry in entries
        ]

    async def carry_out(self, plan: Sequence[Planned]) -> None:
        """In one transaction. Raises `AccountError` if a user has been changed meanwhile."""
        planned = [each for each in plan if each.fate is not Fate.KEEP]
        try:
            await self._write(planned)
        except OutdatedSeal:
            await follow_keys(self._store, self._vault)
            await self._write(planned)

    async def _write(self, planned: Sequence[Planned]) -> None:
        added = [self._account(each.entry) for each in planned if each.there is None]
        changed = {
            each.there.id: self._values(each.entry, each.there.id)
            for each in planned
            if each.there is not None
        }
        await self._store.accounts.bring(
            added, {account_id: values for account_id, values in changed.items() if values}
        )

    def _account(self, entry: Entry) -> StoredAccount:
        account = StoredAccount(
            id=secrets.token_hex(16),
            email=entry.email,
            disabled=False,
            sealed_key=None,
            key_hint=None,
            added_at=entry.added_at or self._clock(),
            last_used_at=None,
        )
        return dataclasses.replace(account, **self._values(entry, account.id))

    def _values(self, entry: Entry, account_id: str) -> dict[str, Any]:
        """What the file says; the rest stays as it is."""
        values: dict[str, Any] = {}
        if entry.key is not None:
            values["sealed_key"] = self._vault.seal(entry.key, account_id)
            values["key_hint"] = key_hint(entry.key)
            values["key_rejected_at"] = None
        if entry.disabled is not None:
            values["disabled"] = entry.disabled
        return values
