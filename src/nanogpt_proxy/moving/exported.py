"""The proxy's own export: one JSON object, with the keys sealed under a passphrase or without.

What is sealed is bound to all the rest of the file: a list of users that was altered does not
open. Another layout will be another format name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nanogpt_proxy.errors import ProxyError, SealBroken
from nanogpt_proxy.models import Secret, StoredAccount
from nanogpt_proxy.moving.entries import Row
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault, passphrase

_NAME = "nanogpt-proxy export"
FORMAT = f"{_NAME} 1"


async def export(store: Store, vault: Vault, secret: Secret | None, at: datetime) -> str:
    """All accounts; with their keys, if there is a passphrase to seal them under.

    Raises `InvalidInput` for a passphrase that is too short, and `VaultError`.
    """
    accounts = await store.accounts.list_all()
    document: dict[str, Any] = {
        "format": FORMAT,
        "exported_at": _instant(at),
        "accounts": [_of_account(account) for account in accounts],
        "keys": None,
    }
    if secret is not None:
        keys = {a.email: vault.open(a.sealed_key, a.id).reveal() for a in accounts if a.sealed_key}
        document["keys"] = passphrase.seal(Secret(json.dumps(keys)), secret, _bound(document))
    return json.dumps(document, indent=2)


def _of_account(account: StoredAccount) -> dict[str, Any]:
    return {
        "email": account.email,
        "disabled": account.disabled,
        "added_at": _instant(account.added_at),
    }


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _bound(document: Mapping[str, Any]) -> bytes:
    rest = {name: document[name] for name in ("format", "exported_at", "accounts")}
    return json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()


class Exported:
    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises `ProxyError` for an object that is something else."""
        name = document.get("format")
        if not isinstance(name, str) or not name.startswith(_NAME):
            raise ProxyError("the file is a JSON object, but no export of nanogpt-proxy")
        if name != FORMAT:
            raise ProxyError("the file was exported by a newer release: import it with that one")
        if not isinstance(document.get("accounts"), list) or "exported_at" not in document:
            raise _damaged("it has no list of accounts")
        self._document = document
        self.asks_for = "Passphrase of the export" if document.get("keys") else None

    def rows(self, secret: Secret | None) -> list[Row]:
        keys: Mapping[str, str] = {}
        if self._document.get("keys"):
            keys = self._keys(secret or Secret(""))
        accounts: Sequence[Any] = self._document["accounts"]
        return [_row(number, item, keys) for number, item in enumerate(accounts, 1)]

    def _keys(self, secret: Secret) -> Mapping[str, str]:
        sealed = self._document["keys"]
        if not isinstance(sealed, dict):
            raise _damaged("its keys are not an object")
        try:
            plain = passphrase.open_sealed(sealed, secret, _bound(self._document))
        except SealBroken as error:
            raise ProxyError(error.message) from None
        keys: Mapping[str, str] = json.loads(plain.reveal())
        return keys


def _row(number: int, item: Any, keys: Mapping[str, str]) -> Row:
    try:
        email, disabled, text = item["email"], item["disabled"], item["added_at"]
        added_at = datetime.fromisoformat(text)
    except (KeyError, TypeError, ValueError):
        raise _damaged(f"entry {number} is not an account") from None
    if not isinstance(email, str) or not isinstance(disabled, bool) or added_at.tzinfo is None:
        raise _damaged(f"entry {number} is not an account")
    return Row(f"entry {number}", email, keys.get(email), disabled, added_at)


def _damaged(why: str) -> ProxyError:
    return ProxyError(f"the export is damaged: {why}")
