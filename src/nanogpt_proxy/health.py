"""Whether the proxy can do its work: asked by load balancers and by Docker."""

from __future__ import annotations

import asyncio

from nanogpt_proxy.errors import StoreError, VaultError
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE
from nanogpt_proxy.vault import Vault

_PATIENCE = 2.0  # seconds that the store has to answer


class Health:
    """Never asks a model, and never NanoGPT: its outage must not take the proxy out of service."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self.draining = False

    async def problems(self) -> list[str]:
        """One sentence for each reason why no request should be sent here; empty when ready."""
        if self.draining:
            return ["the proxy is stopping"]
        try:
            async with asyncio.timeout(_PATIENCE):
                check = await self._store.meta.get(CHECK_VALUE)
        except (StoreError, TimeoutError):
            return ["the store does not answer"]
        try:
            self._vault.verify(check or "")
        except VaultError:
            return ["the encryption key does not open the keys in the store"]
        return []
