"""Ready means: the store answers and the key is the right one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy import health
from nanogpt_proxy.errors import StoreUnavailable
from nanogpt_proxy.health import Health
from nanogpt_proxy.models import Secret
from nanogpt_proxy.store import Store
from nanogpt_proxy.store.meta import CHECK_VALUE
from nanogpt_proxy.vault import Vault

VAULT = Vault(Secret("0123456789abcdef" * 4))
OTHER_VAULT = Vault(Secret("fedcba9876543210" * 4))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "proxy.db")
    await store.meta.set_if_absent(CHECK_VALUE, VAULT.check_value())
    yield store
    await store.close()


async def test_with_all_in_order_it_is_ready(store: Store) -> None:
    assert await Health(store, VAULT).problems() == []


async def test_another_key_is_a_problem(store: Store) -> None:
    (problem,) = await Health(store, OTHER_VAULT).problems()
    assert "encryption key" in problem


async def test_a_store_without_a_check_value_is_a_problem(tmp_path: Path) -> None:
    empty = await Store.open(tmp_path / "empty.db")
    assert await Health(empty, VAULT).problems()
    await empty.close()


@pytest.mark.parametrize("failure", ["error", "silence"])
async def test_a_store_that_does_not_answer_is_a_problem(
    failure: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(_: Any) -> str:
        if failure == "error":
            raise StoreUnavailable("the disk is gone: /secret/path")
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(store.meta, "get", get)
    monkeypatch.setattr(health, "_PATIENCE", 0.01)
    (problem,) = await Health(store, VAULT).problems()
    assert problem == "the store does not answer"


async def test_while_draining_it_is_not_ready_and_asks_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.meta, "get", None)
    watched = Health(store, VAULT)
    watched.draining = True
    (problem,) = await watched.problems()
    assert "stopping" in problem
