"""Where master keys come from: the settings, or files in `DATA_DIR`.

While the key of the files is being changed, the new one lies in `encryption.key.next`. It is
there, safe on disk, before anything is sealed with it, and takes the place of `encryption.key`
after the last row has been sealed anew. So the two files together open every row at any moment.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.private_files import create_private, read_private, sync_directory
from nanogpt_proxy.settings import Settings

KEY_FILE = "encryption.key"
NEXT_KEY_FILE = "encryption.key.next"

_MASTER = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The first one belongs to the place where the key is kept; the others open too."""

    current: Secret
    others: tuple[Secret, ...] = ()
    created: bool = False
    """Made just now: then its owner should back it up."""


def load_or_create(settings: Settings, *, store_holds_keys: bool) -> MasterKeys:
    """The master keys of the settings, else those of the files in `DATA_DIR`.

    A new one is made only for a store that holds nothing sealed: beside old keys it could open
    none of them, and would hide that the right one is lost. Raises `ConfigurationError`.
    """
    if settings.db_encryption_key is not None:
        previous = settings.db_encryption_key_previous
        return MasterKeys(settings.db_encryption_key, (previous,) if previous else ())
    path = settings.data_dir / KEY_FILE
    # In this order: a next key that becomes the key in between is then read twice, not missed.
    following = next_key(settings.data_dir)
    others = (following,) if following else ()
    text = read_private(path)
    if text is not None:
        return MasterKeys(_checked(text, path), others)
    if store_holds_keys:
        raise ConfigurationError(
            [
                f"the database holds sealed keys, but there is no encryption key: put {path} back "
                "from your backup, or set DB_ENCRYPTION_KEY to the key it had"
            ]
        )
    created = create_private(path, secrets.token_hex(32))
    return MasterKeys(_checked(read_private(path) or "", path), others, created)


def reread(settings: Settings) -> tuple[Secret, ...]:
    """The keys that the files hold at this moment; none when the settings give the key."""
    if settings.db_encryption_key is not None:
        return ()
    following = next_key(settings.data_dir)
    text = read_private(settings.data_dir / KEY_FILE) or ""
    current = Secret(text) if _MASTER.fullmatch(text) else None
    return tuple(key for key in (current, following) if key is not None)


def next_key(data_dir: Path) -> Secret | None:
    """The key that will take the place of the one in use; one half written is none."""
    text = read_private(data_dir / NEXT_KEY_FILE) or ""
    return Secret(text) if _MASTER.fullmatch(text) else None


def make_next_key(data_dir: Path) -> Secret:
    """A new one, safe on disk. The caller knows that nothing is sealed with one that is there."""
    path = data_dir / NEXT_KEY_FILE
    path.unlink(missing_ok=True)
    create_private(path, secrets.token_hex(32))
    return _checked(read_private(path) or "", path)


def promote_next_key(data_dir: Path) -> None:
    """The next key takes the place of the one in use, which is gone then."""
    os.replace(data_dir / NEXT_KEY_FILE, data_dir / KEY_FILE)
    sync_directory(data_dir)


def _checked(text: str, path: Path) -> Secret:
    if not _MASTER.fullmatch(text):
        raise ConfigurationError(
            [
                f"{path} does not hold 64 hex digits: put the file back from your backup, or, if "
                "no user was ever added, delete it"
            ]
        )
    return Secret(text)
