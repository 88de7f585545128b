"""The gateway's view of the accounts: in memory, with open keys, fresh within a second.

`find` is for every request and never waits. What it does not hold is loaded from the store once
and kept until somebody changes that account, in this process or another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Final, Literal

from nanogpt_proxy.errors import NoSuchAccount, StoreError
from nanogpt_proxy.models import Account
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

_FLUSH_SECONDS = 2.0

log = logging.getLogger(__name__)


class NotLoaded(Enum):
    """The answer of `find` that means: ask `load`."""

    NOT_LOADED = "not loaded"


NOT_LOADED: Final = NotLoaded.NOT_LOADED


class Directory:
    """Between `start` and `stop` it follows the store; both belong to one event loop."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        *,
        clock: Callable[[], float] = time.time,
        interval: float = 0.25,
        capacity: int = 100_000,
    ) -> None:
        """`clock` gives seconds since 1970; `interval` is the time between two looks."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._interval = interval
        self._capacity = capacity
        self._known: dict[str, Account | None] = {}
        self._strangers: set[str] = set()
        self._loading: dict[str, asyncio.Task[Account | None]] = {}
        self._used: dict[str, float] = {}
        self._seq = 0
        self._changes_seen = 0
        self._must_ask = True
        self._healthy = True
        self._watching: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last look at the store worked; if not, what is known may be out of date."""
        return self._healthy

    def find(self, email: str) -> Account | Literal[NotLoaded.NOT_LOADED] | None:
        """From memory alone. `email` is canonical; `None` means that there is no such account."""
        return self._known.get(email, NOT_LOADED)

    async def load(self, email: str) -> Account | None:
        """From the store, and remembered. Many calls for one e-mail ask once.

        Raises `StoreError` or `VaultError`, which are not remembered.
        """
        task = self._loading.get(email)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(email))
            self._loading[email] = task
            task.add_done_callback(lambda done: self._loaded(email, done))
        # The caller may give up; others wait for the same answer.
        return await asyncio.shield(task)

    async def bind(self, account: Account, user_id: str) -> Account | None:
        """The account, which belongs to this user of Open WebUI from now on.

        `None` when it has just been deleted. Raises `BoundOtherwise` and what `load` raises.
        """
        try:
            await self._store.bindings.bind(account.id, user_id)
        except NoSuchAccount:
            return None
        return await self._fresh(account.email)

    async def move(self, user_id: str, email: str) -> Account | None:
        """The account of this user of Open WebUI, which gets this e-mail; `None` if there is none.

        Who has none is remembered. Raises `AccountExists` and what `load` raises.
        """
        changes_seen = self._changes_seen
        if not await self._store.bindings.has(user_id):
            if changes_seen == self._changes_seen and len(self._strangers) < self._capacity:
                self._strangers.add(user_id)
            return None
        before = await self._store.bindings.move(user_id, email)
        if before is None:
            return None
        self._known.pop(before, None)
        return await self._fresh(email)

    def is_stranger(self, user_id: str) -> bool:
        """Whether no account belongs to this user of Open WebUI, from memory alone."""
        return user_id in self._strangers

    async def judge_key(self, account: Account, *, rejected: bool) -> None:
        """Marks the key of the account as one that NanoGPT rejects, or takes the mark away.

        Nothing if the account has another key by now. Raises what `load` raises.
        """
        stored = await self._store.accounts.get_by_id(account.id)
        if stored is None or stored.sealed_key is None:
            return
        if self._vault.open(stored.sealed_key, stored.id) != account.key:
            return
        at = datetime.fromtimestamp(self._clock(), UTC) if rejected else None
        await self._store.accounts.set_key_rejected(stored.id, stored.sealed_key, at)

    def used(self, account_id: str) -> None:
        """The account was used now; written down some seconds later, or at `stop`."""
        self._used[account_id] = self._clock()

    async def start(self) -> None:
        """Raises `StoreError` when the store does not answer."""
        await self._follow()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Writes down the last uses. `find` and `load` still work, but changes go unseen."""
        tasks = [*self._loading.values(), *([self._watching] if self._watching else [])]
        self._watching = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._flush()

    async def _fresh(self, email: str) -> Account | None:
        """Read after a change of ours: not what somebody began to read before it."""
        self._changes_seen += 1
        self._known.pop(email, None)
        return await self._load(email)

    async def _load(self, email: str) -> Account | None:
        while True:
            changes_seen = self._changes_seen
            stored = await self._store.accounts.get(email)
            if changes_seen == self._changes_seen:
                break
            # A change came to light while we were reading, perhaps of just this account, and
            # perhaps after it was read: what was read must not be remembered.
        account = None
        if stored is not None:
            sealed = stored.sealed_key
            key = None if sealed is None else self._vault.open(sealed, stored.id)
            rejected = stored.key_rejected_at is not None
            account = Account(
                stored.id, stored.email, stored.disabled, key, stored.bound_id, rejected
            )
        self._remember(email, account)
        return account

    def _loaded(self, email: str, done: asyncio.Task[Account | None]) -> None:
        del self._loading[email]
        if not done.cancelled():
            done.exception()  # seen, even when every caller has gone away

    def _remember(self, email: str, account: Account | None) -> None:
        if email not in self._known and len(self._known) >= self._capacity:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[email] = account

    async def _watch(self) -> None:
        next_flush = time.monotonic() + _FLUSH_SECONDS
        while True:
            await asyncio.sleep(self._interval)
            await self._try_to_follow()
            if time.monotonic() >= next_flush:
                await self._flush()
                next_flush = time.monotonic() + _FLUSH_SECONDS

    async def _try_to_follow(self) -> None:
        try:
            await self._follow()
        except Exception as error:
            # Whatever it is, this must go on: it is what takes a disabled user out of memory.
            if self._healthy:
                known = isinstance(error, StoreError)
                log.error(
                    "the store does not answer; using what is in memory: %s",
                    error,
                    exc_info=not known,
                )
            self._healthy = False
        else:
            if not self._healthy:
                log.info("the store answers again")
            self._healthy = True

    async def _follow(self) -> None:
        # A look that says yes says it once: remember that until the question got its answer.
        self._must_ask = await self._store.look() or self._must_ask
        if not self._must_ask:
            return
        seq, emails = await self._store.changes.since(self._seq)
        self._must_ask = False
        if emails is None:
            self._known.clear()
        else:
            for email in emails:
                self._known.pop(email, None)
        if seq != self._seq:
            self._changes_seen += 1
            self._strangers.clear()
        self._seq = seq

    async def _flush(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        at = {account: datetime.fromtimestamp(used[account], UTC) for account in used}
        try:
            await self._store.accounts.touch(at)
        except BaseException as error:  # also when cancelled by `stop`, which flushes again
            self._used = used | self._used
            if not isinstance(error, Exception):
                raise
            log.warning("cannot write down when keys were used, will try again: %s", error)
