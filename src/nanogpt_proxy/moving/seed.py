"""The `keys.db` of the earlier nanogpt-proxy: SQLite, `users(email, api_key)`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from nanogpt_proxy.errors import ProxyError, SealBroken
from nanogpt_proxy.models import Secret, is_usual_key
from nanogpt_proxy.moving.entries import Row
from nanogpt_proxy.vault.seed import open_seed_key

MAGIC = b"SQLite format 3\0"
_SHORTEST = 16  # noise is printable by chance when it is short


class SeedFile:
    asks_for = "Old DB_ENCRYPTION_KEY"

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, secret: Secret | None) -> list[Row]:
        """Raises `ProxyError`, also when the secret is not the one that the keys were sealed by."""
        sealed = self._sealed()
        opened = [_opened(text, secret or Secret("")) for _, text in sealed]
        if not _look_like_keys([key for key in opened if key]):
            raise ProxyError(
                "the old secret is wrong: what it opens does not look like keys",
                hint="it is the value of DB_ENCRYPTION_KEY of the earlier nanogpt-proxy, exactly",
            )
        return [
            Row(f"row {number}", email, key.decode("ascii", "replace") or None)
            for number, ((email, _), key) in enumerate(zip(sealed, opened, strict=True), 1)
        ]

    def _sealed(self) -> list[tuple[str, str]]:
        place = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        try:
            with closing(sqlite3.connect(place, uri=True)) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                found = connection.execute("SELECT email, api_key FROM users ORDER BY rowid")
                rows = found.fetchall()
        except sqlite3.Error as error:
            raise ProxyError(
                f"{self._path} is not the database of an earlier nanogpt-proxy: {error}",
                hint="import takes its keys.db, JSON, CSV, or what `nanogpt-proxy export` wrote",
            ) from None
        for number, (email, key) in enumerate(rows, 1):
            if not isinstance(email, str) or not isinstance(key, str | None):
                raise ProxyError(f"row {number}: e-mail and key must be text")
        return [(email, key or "") for email, key in rows]


def _opened(sealed: str, secret: Secret) -> bytes:
    try:
        return open_seed_key(sealed, secret)
    except SealBroken as error:
        raise ProxyError(error.message) from None


def _look_like_keys(opened: Sequence[bytes]) -> bool:
    """One usual key proves the secret: the wrong one gives noise for every user.

    Where nobody has a usual key, all of them must be printable, and long enough for that to be no
    chance.
    """
    if not opened:
        return True
    if any(is_usual_key(Secret(key.decode("ascii", "replace"))) for key in opened):
        return True
    printable = all(all(0x21 <= byte <= 0x7E for byte in key) for key in opened)
    return printable and max(map(len, opened)) >= _SHORTEST
