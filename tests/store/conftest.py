"""The contract of the store runs on each database in `DATABASES`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.models import StoredAccount
from nanogpt_proxy.store import Store

DATABASES = ["sqlite"]
NewAccount = Callable[..., StoredAccount]


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The address of a database that does not exist yet."""
    assert request.param == "sqlite"
    return tmp_path / "data" / "nanogpt-proxy.db"


@pytest.fixture
async def store(place: Path) -> AsyncIterator[Store]:
    store = await Store.open(place)
    yield store
    await store.close()


@pytest.fixture
async def second(place: Path, store: Store) -> AsyncIterator[Store]:
    """The same database, as another process has it open."""
    second = await Store.open(place)
    yield second
    await second.close()


@pytest.fixture
def account() -> NewAccount:
    def make(email: str = "alice@example.com", **values: Any) -> StoredAccount:
        defaults: dict[str, Any] = {
            "id": secrets.token_hex(16),
            "email": email,
            "disabled": False,
            "sealed_key": None,
            "key_hint": None,
            "added_at": datetime(2026, 11, 23, 20, 0, 0, 123456, UTC),
            "last_used_at": None,
        }
        return StoredAccount(**(defaults | values))

    return make
