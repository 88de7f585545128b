"""Opens the store and the vault that belongs to it; service and commands both begin here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from nanogpt_proxy.errors import ConfigurationError, WrongMasterKey
from nanogpt_proxy.private_files import others_may_read, private_directory
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE, NEXT_CHECK_VALUE, prefix_of
from nanogpt_proxy.vault import Vault, key_id_of, master_keys
from nanogpt_proxy.vault.master_keys import KEY_FILE

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
    keys = _master_keys(settings, store_holds_keys=bool(check or sealed))
    vault = Vault(keys.current, also=keys.others, reread=partial(master_keys.reread, settings))
    try:
        if check is None:
            if sealed is not None and sealed.sealed_key is not None:
                vault.open(sealed.sealed_key, sealed.id)  # or the check value would lie
                vault.use(key_id_of(sealed.sealed_key))
            check = await store.meta.set_if_absent(CHECK_VALUE, vault.check_value())
        vault.verify(check)
    except WrongMasterKey as error:
        raise _wrong(settings, error) from None
    await _choose_key(settings, store, vault)
    return vault, keys.created


def _master_keys(settings: Settings, *, store_holds_keys: bool) -> master_keys.MasterKeys:
    try:
        private_directory(settings.data_dir)
        return master_keys.load_or_create(settings, store_holds_keys=store_holds_keys)
    except OSError as error:
        raise ConfigurationError(
            [f"DATA_DIR {settings.data_dir} cannot be used: {error.strerror}"]
        ) from None


async def _choose_key(settings: Settings, store: Store, vault: Vault) -> None:
    """Begins or goes on with a change of keys, where the settings or the store say so."""
    given = settings.db_encryption_key
    check = await store.meta.get(CHECK_VALUE) or ""
    if settings.db_encryption_key_previous and given:
        vault.use(vault.add(given))
        if key_id_of(check) == vault.key_id:
            return  # it was changed already
        await _begin(store, vault)
    await follow_keys(store, vault)


async def _begin(store: Store, vault: Vault) -> None:
    following = await store.meta.get(NEXT_CHECK_VALUE)
    if following is None or key_id_of(following) != vault.key_id:
        await _nothing_lost(store, vault, following)
        await store.meta.set(NEXT_CHECK_VALUE, vault.check_value())


async def follow_keys(store: Store, vault: Vault) -> None:
    """Seals from now on with the key that the store says, also after it was changed elsewhere.

    Raises `WrongMasterKey` when there are keys in the store that another one has sealed.
    """
    following = await store.meta.get(NEXT_CHECK_VALUE)
    if following is not None and vault.holds(key_id_of(following)):
        vault.verify(following)
        vault.use(key_id_of(following))
        return
    await _nothing_lost(store, vault, following)
    vault.use(key_id_of(await store.meta.get(CHECK_VALUE) or ""))


async def _nothing_lost(store: Store, vault: Vault, following: str | None) -> None:
    """A change to a key that is gone may be forgotten only if nothing was sealed with it."""
    if following is None or vault.holds(key_id_of(following)):
        return
    if prefix_of(following) in await store.sealing.prefixes():
        key_id = key_id_of(following)
        raise WrongMasterKey(
            f"the encryption key is being changed to {key_id}, which is not here",
            hint=f"put {master_keys.NEXT_KEY_FILE} back into DATA_DIR; or set DB_ENCRYPTION_KEY to "
            f"the key {key_id}, and DB_ENCRYPTION_KEY_PREVIOUS to the one before it",
        )


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
    if settings.db_encryption_key is None and master_keys.next_key(settings.data_dir):
        notes.append(
            "the encryption key is being changed: if no rotate-key is at work, it was cut short; "
            "run `nanogpt-proxy rotate-key` again to finish it"
        )
    return notes
