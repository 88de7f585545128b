"""Changes the master key: every API key is sealed anew, while the proxy serves.

Each step may be the last one before a crash. What it leaves behind opens, and the next run goes
on from there:

1. the new key lies beside the old one, safe on disk (or both are in the settings);
2. the store knows it (the next check value), from then on new keys are sealed with it;
3. the rows are sealed anew, some at a time;
4. in one transaction: nothing is sealed by the old key any more, the new one is the one in use;
5. the files of the database are written anew, without remains of the old rows;
6. the new key's file takes the place of the old one's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nanogpt_proxy.errors import ConfigurationError, SealBroken, VaultError, WrongMasterKey
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.private_files import alone
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE, NEXT_CHECK_VALUE, prefix_of
from nanogpt_proxy.vault import Vault, key_id_of, master_keys

LOCK_FILE = "rotation.lock"
_BATCH = 25
_NOBODY = "-"  # the prefix of no master key
_PAUSE = 0.02  # seconds between two batches, in which others get to write

_STEPS = (
    "the encryption key comes from DB_ENCRYPTION_KEY. To change it: "
    "1. set DB_ENCRYPTION_KEY to a new one (`openssl rand -hex 32`) and "
    "DB_ENCRYPTION_KEY_PREVIOUS to the one it has now; 2. restart the proxy; "
    "3. run `nanogpt-proxy rotate-key`; 4. remove DB_ENCRYPTION_KEY_PREVIOUS and restart"
)


@dataclass(frozen=True, slots=True)
class Rotated:
    key_id: str
    """Of the master key in use now."""
    renewed: int
    """So many API keys were sealed anew, by this run."""
    changed: bool
    """Whether there was anything to do."""
    from_file: bool
    """Whether the key is in a file of `DATA_DIR`."""


async def rotate(settings: Settings) -> Rotated:
    """Raises `ConfigurationError` when the settings hold one key alone, else what may go wrong."""
    from_file = settings.db_encryption_key is None
    if not from_file and settings.db_encryption_key_previous is None:
        raise ConfigurationError([_STEPS])
    try:
        with alone(settings.data_dir / LOCK_FILE) as we_are:
            if not we_are:
                raise VaultError("another rotate-key is at work")
            return await _alone(settings, from_file)
    except OSError as error:
        raise VaultError(
            f"the files in DATA_DIR {settings.data_dir} cannot be changed: {error.strerror}",
            hint="nothing is lost: mend it, then run rotate-key again",
        ) from None


async def _alone(settings: Settings, from_file: bool) -> Rotated:
    opened = await open_store_and_vault(settings)
    try:
        rotation = _Rotation(settings, opened.store, opened.vault)
        return await (rotation.of_the_file() if from_file else rotation.of_the_settings())
    finally:
        await opened.store.close()


class _Rotation:
    def __init__(self, settings: Settings, store: Store, vault: Vault) -> None:
        self._settings = settings
        self._store = store
        self._vault = vault

    async def of_the_settings(self) -> Rotated:
        """Opening the vault has begun it already."""
        begun = await self._store.meta.get(NEXT_CHECK_VALUE) is not None
        renewed = await self._renew() if begun else 0
        await self._store.forget_the_past()
        return Rotated(self._vault.key_id, renewed, begun, from_file=False)

    async def of_the_file(self) -> Rotated:
        in_use = key_id_of(await self._store.meta.get(CHECK_VALUE) or "")
        renewed = 0
        if not self._only_the_file_is_left(in_use):
            await self._begin()
            renewed = await self._renew()
        await self._store.forget_the_past()
        master_keys.promote_next_key(self._settings.data_dir)
        return Rotated(self._vault.key_id, renewed, changed=True, from_file=True)

    def _only_the_file_is_left(self, in_use: str) -> bool:
        following = master_keys.next_key(self._settings.data_dir)
        return following is not None and self._vault.add(following) == in_use

    async def _begin(self) -> None:
        """Makes the new key, unless an earlier run has."""
        following = await self._store.meta.get(NEXT_CHECK_VALUE)
        made = master_keys.next_key(self._settings.data_dir)
        if made is not None and following is not None:
            if self._vault.add(made) == key_id_of(following):
                return
        await self._all_must_open()
        key_id = self._vault.add(master_keys.make_next_key(self._settings.data_dir))
        self._vault.use(key_id)
        await self._store.meta.set(NEXT_CHECK_VALUE, self._vault.check_value())

    async def _all_must_open(self) -> None:
        """Before anything is begun: a key that does not open could never be sealed anew."""
        everything = await self._store.sealing.sealed_otherwise(_NOBODY)
        broken = [email for owner, email, sealed in everything if not self._opens(sealed, owner)]
        if broken:
            raise _cannot_open(sorted(broken))

    def _opens(self, sealed: str, owner: str) -> bool:
        try:
            self._vault.open(sealed, owner)
        except (SealBroken, WrongMasterKey):
            return False
        return True

    async def _renew(self) -> int:
        check = self._vault.check_value()
        renewed = 0
        while True:
            renewed += await self._seal_anew(prefix_of(check))
            await self._seal_values_anew(prefix_of(check))
            if await self._store.sealing.finish(check):
                return renewed

    async def _seal_anew(self, prefix: str) -> int:
        renewed = 0
        while rows := await self._store.sealing.sealed_otherwise(prefix, most=_BATCH):
            batch = {}
            for account_id, email, sealed in rows:
                if not self._opens(sealed, account_id):
                    raise _cannot_open([email])
                batch[account_id] = (sealed, self._anew(sealed, account_id))
            await self._store.sealing.replace(batch)
            renewed += len(batch)
            await asyncio.sleep(_PAUSE)
        return renewed

    async def _seal_values_anew(self, prefix: str) -> None:
        for name, sealed in await self._store.sealing.values_sealed_otherwise(prefix):
            await self._store.sealing.replace_value(name, sealed, self._anew(sealed, name))

    def _anew(self, sealed: str, owner: str) -> str:
        return self._vault.seal(self._vault.open(sealed, owner), owner)


def _cannot_open(emails: list[str]) -> VaultError:
    return VaultError(
        f"the keys of these users cannot be opened: {', '.join(emails)}",
        hint="give each a new one with `nanogpt-proxy set-key EMAIL`, then run rotate-key again",
    )
