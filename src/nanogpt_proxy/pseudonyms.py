"""Names that stand for users: in the log, and, where it is wanted, towards NanoGPT.

Each use has a random key of its own, sealed in the store, so that a log cannot be joined with
what NanoGPT knows, and neither be traced back by whoever has a list of accounts.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TypeVar

from nanogpt_proxy.models import Account, Secret
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

LOG_KEY = "pseudonym_key.log"
TAG_KEY = "pseudonym_key.tag"
"""The named values that hold the keys; each name is also the owner it is sealed for."""

T = TypeVar("T")

_MOST = 10_000  # accounts whose names are remembered


class Pseudonyms:
    """The names of users, made when they are first needed."""

    def __init__(self, settings: Settings, log_key: Secret, tag_key: Secret) -> None:
        self._by_email = settings.log_users == "email"
        self._tagging = settings.user_tag == "hmac"
        self._log_key = bytes.fromhex(log_key.reveal())
        self._tag_key = bytes.fromhex(tag_key.reveal())
        self._logged: dict[str, str] = {}
        self._tags: dict[str, bytes] = {}

    def logged(self, account: Account) -> str:
        """Whose request it was, for the log."""
        if not account.email:
            return account.id  # the service, which is nobody
        if self._by_email:
            return account.email
        name = self._logged.get(account.id)
        if name is None:
            name = _digest(self._log_key, account)[:16]
            _remember(self._logged, account.id, name)
        return name

    def tag(self, account: Account) -> bytes | None:
        """Whose request it is, for NanoGPT; `None` for the service, or if not wanted."""
        if not self._tagging or not account.email:
            return None
        tag = self._tags.get(account.id)
        if tag is None:
            tag = _digest(self._tag_key, account)[:32].encode()
            _remember(self._tags, account.id, tag)
        return tag


def _digest(key: bytes, account: Account) -> str:
    return hmac.digest(key, account.id.encode(), "sha256").hex()


def _remember(names: dict[str, T], account_id: str, name: T) -> None:
    if len(names) >= _MOST:
        names.clear()
    names[account_id] = name


async def open_pseudonyms(settings: Settings, store: Store, vault: Vault) -> Pseudonyms:
    """Makes the keys when they are missing. Raises `StoreError` or `VaultError`."""
    log_key, tag_key = [await _key(store, vault, name) for name in (LOG_KEY, TAG_KEY)]
    return Pseudonyms(settings, log_key, tag_key)


async def _key(store: Store, vault: Vault, name: str) -> Secret:
    sealed = await store.meta.get(name)
    if sealed is None:
        new = vault.seal(Secret(secrets.token_hex(32)), name)
        sealed = await store.meta.set_if_absent(name, new)
    return vault.open(sealed, name)
