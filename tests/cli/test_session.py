"""What a command opens, it closes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.cli.session import with_accounts


def test_the_result_comes_back_and_the_store_is_closed(data: Path) -> None:
    async def count(accounts: Accounts) -> int:
        return len(await accounts.list())

    assert with_accounts(count) == 0
    # SQLite removes the WAL when the last connection is closed.
    assert not (data / "nanogpt-proxy.db-wal").exists()


def test_it_is_closed_after_a_failure_too(data: Path) -> None:
    async def fail(accounts: Accounts) -> None:
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        with_accounts(fail)
    assert not (data / "nanogpt-proxy.db-wal").exists()
