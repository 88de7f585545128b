"""Opens the accounts for one command and closes them behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from nanogpt_proxy.cli.output import hint

if TYPE_CHECKING:
    from nanogpt_proxy.accounts import Accounts
    from nanogpt_proxy.store import Store
    from nanogpt_proxy.vault import Vault

T = TypeVar("T")


def with_accounts(work: Callable[[Accounts], Awaitable[T]]) -> T:
    """What `work` returns, as `with_store`."""
    from nanogpt_proxy.accounts import Accounts

    return with_store(lambda store, vault: work(Accounts(store, vault)))


def with_store(work: Callable[[Store, Vault], Awaitable[T]]) -> T:
    """What `work` returns. Makes database and encryption key at the very first use, and says so."""
    import asyncio

    from nanogpt_proxy import settings
    from nanogpt_proxy.opening import open_store_and_vault

    async def session() -> T:
        opened = await open_store_and_vault(settings.load())
        try:
            for note in opened.notes:
                hint(note)
            return await work(opened.store, opened.vault)
        finally:
            await opened.store.close()

    return asyncio.run(session())
