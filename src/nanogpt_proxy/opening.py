"""Opens the store and the vault that belongs to it; service and commands both begin here."""

from __future__ import annotations

from dataclasses import dataclass

from nanogpt_proxy.errors import ConfigurationError, WrongMasterKey
from nanogpt_proxy.private_files import others_may_read, private_directory
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE
from nanogpt_proxy.vault import KEY_FILE, Vault, load_or_create_master

DATABASE_FILE = "nanogpt-proxy.db"


@dataclass(frozen=True, slots=True)
class Opened:
    """Whoever opens it closes the store."""

    store: Store
    vault: Vault
    first_start: bool
    """The encryption key was made just now."""
    notes: tuple[str, ...]
    """Sentences that the person who started this should read."""


async def open_store(settings: Settings) -> Store:
    """The store alone, made and migrated where due. Raises `StoreError`."""
    return await Store.open(settings.database_url or settings.data_dir / DATABASE_FILE)


async def open_store_and_vault(settings: Settings) -> Opened:
    """Makes and migrates the store and makes an encryption key, where these are due.

    Raises `StoreError`, `ConfigurationError`, or `WrongMasterKey` when the encryption key is not
    the one that the store was used with.
    """
    store = await open_store(settings)
    try:
        vault, created = await _open_vault(settings, store)
    except BaseException:
        await store.close()
        raise
    return Opened(store, vault, created, tuple(_notes(settings, created)))


async def _open_vault(settings: Settings, store: Store) -> tuple[Vault, bool]:
    check = await store.meta.get(CHECK_VALUE)
    sealed = await store.accounts.any_sealed()
    given = settings.db_encryption_key
    try:
        private_directory(settings.data_dir)
        master, created = load_or_create_master(
            settings.data_dir, store_holds_keys=bool(check or sealed), given=given
        )
    except OSError as error:
        raise ConfigurationError(
            [f"DATA_DIR {settings.data_dir} cannot be used: {error.strerror}"]
        ) from None
    vault = Vault(master)
    try:
        if check is None:
            if sealed is not None and sealed.sealed_key is not None:
                vault.open(sealed.sealed_key, sealed.id)  # or the check value would lie
            check = await store.meta.set_if_absent(CHECK_VALUE, vault.check_value())
        vault.verify(check)
    except WrongMasterKey as error:
        raise _wrong(settings, error) from None
    return vault, created


def _wrong(settings: Settings, error: WrongMasterKey) -> WrongMasterKey:
    path = settings.data_dir / KEY_FILE
    used = "DB_ENCRYPTION_KEY" if settings.db_encryption_key else str(path)
    hint = f"set {used} to the key that this database was first used with"
    if settings.db_encryption_key and path.exists():
        hint += f", or remove DB_ENCRYPTION_KEY if that key is the one in {path}"
    return WrongMasterKey(f"the encryption key ({used}) is wrong: {error.message}", hint=hint)


def _notes(settings: Settings, created: bool) -> list[str]:
    path = settings.data_dir / KEY_FILE
    notes = []
    if created:
        notes.append(f"made a new encryption key: back up {path}, without it no API key opens")
    # Said, not refused: on some mounted volumes modes cannot be changed, and an owner who cannot
    # mend it would be left without a service.
    if settings.db_encryption_key is None and others_may_read(path):
        notes.append(f"other users of this machine may read {path}: run chmod 600 {path}")
    return notes
