"""What people do to users and their keys. Commands and pages call this and nothing below it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from nanogpt_proxy.errors import NoSuchAccount, OutdatedSeal
from nanogpt_proxy.models import Secret, StoredAccount, canonical_email, clean_key, key_hint
from nanogpt_proxy.opening import follow_keys
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault


def _now() -> datetime:
    return datetime.now(UTC)


class Accounts:
    """E-mails come as people write them. A running proxy follows within a second.

    All methods may raise `InvalidEmail` and `StoreError`; those that take a key `InvalidKey`.
    """

    def __init__(self, store: Store, vault: Vault, *, clock: Callable[[], datetime] = _now) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def add(self, email: str, key: Secret | None) -> StoredAccount:
        """A new user; without a key they cannot make calls yet. Raises `AccountExists`."""
        account = StoredAccount(
            id=secrets.token_hex(16),
            email=canonical_email(email),
            disabled=False,
            sealed_key=None,
            key_hint=None,
            added_at=self._clock(),
            last_used_at=None,
        )
        return await self._write(account, key, self._store.accounts.add)

    async def set_key(self, email: str, key: Secret) -> StoredAccount:
        """Raises `NoSuchAccount`."""

        async def write(account: StoredAccount) -> None:
            await self._store.accounts.set_key(account.id, account.sealed_key, account.key_hint)

        return await self._write(await self._get(email), key, write)

    async def list(self) -> Sequence[StoredAccount]:
        """In the order of their e-mails."""
        return await self._store.accounts.list_all()

    async def disable(self, email: str) -> StoredAccount:
        """Their calls are refused, their key is kept. Raises `NoSuchAccount`."""
        return await self._set_disabled(email, True)

    async def enable(self, email: str) -> StoredAccount:
        """Raises `NoSuchAccount`."""
        return await self._set_disabled(email, False)

    async def delete(self, email: str) -> StoredAccount:
        """The user as they were. Raises `NoSuchAccount`."""
        account = await self._get(email)
        await self._store.accounts.delete(account.id)
        return account

    async def unbind(self, email: str) -> StoredAccount:
        """The next user of Open WebUI with this e-mail may have it. Raises `NoSuchAccount`."""
        account = await self._get(email)
        await self._store.bindings.unbind(account.id)
        return replace(account, bound_id=None)

    async def unbind_all(self) -> int:
        """The same for all accounts: so many were bound."""
        return await self._store.bindings.unbind(None)

    async def _set_disabled(self, email: str, disabled: bool) -> StoredAccount:
        account = await self._get(email)
        await self._store.accounts.set_disabled(account.id, disabled)
        return replace(account, disabled=disabled)

    async def _get(self, email: str) -> StoredAccount:
        email = canonical_email(email)
        account = await self._store.accounts.get(email)
        if account is None:
            raise NoSuchAccount(f"there is no user {email}")
        return account

    async def _write(
        self,
        account: StoredAccount,
        key: Secret | None,
        write: Callable[[StoredAccount], Awaitable[None]],
    ) -> StoredAccount:
        """Writes the account with the key sealed, anew if the master key has just changed."""
        sealed = account if key is None else self._with_key(account, key)
        try:
            await write(sealed)
        except OutdatedSeal:
            await follow_keys(self._store, self._vault)
            sealed = account if key is None else self._with_key(account, key)
            await write(sealed)
        return sealed

    def _with_key(self, account: StoredAccount, key: Secret) -> StoredAccount:
        clean = clean_key(key.reveal())
        sealed = self._vault.seal(clean, account.id)
        return replace(account, sealed_key=sealed, key_hint=key_hint(clean), key_rejected_at=None)
