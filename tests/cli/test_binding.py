"""`unbind` for one account and for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.store import Store

Cli = Callable[..., Any]
KEY = b"sk-nano-01234567-89ab-cdef-0123-456789abcdef"


async def bind(database: Path) -> None:
    store = await Store.open(database)
    for number, account in enumerate(await store.accounts.list_all()):
        await store.bindings.bind(account.id, str(number))
    await store.close()


def bound(database: Path) -> list[str | None]:
    async def look() -> list[str | None]:
        store = await Store.open(database)
        found = [account.bound_id for account in await store.accounts.list_all()]
        await store.close()
        return found

    return asyncio.run(look())


def test_one_account_or_all_are_free_again(cli: Cli, data: Path) -> None:
    for name in "abc":
        cli("add-user", f"{name}@example.com", stdin=KEY)
    (database,) = data.glob("*.db")
    asyncio.run(bind(database))
    assert cli("unbind", "B@example.com").out == "unbound b@example.com\n"
    assert bound(database) == ["0", None, "2"]
    assert cli("unbind", "--all").out == "unbound 2 accounts\n"
    assert cli("unbind", "--all").out == "unbound 0 accounts\n"
    assert bound(database) == [None, None, None]


@pytest.mark.parametrize("arguments", [[], ["a@example.com", "--all"]])
def test_it_is_one_or_all(cli: Cli, arguments: list[str]) -> None:
    done = cli("unbind", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "name one EMAIL, or say --all" in done.err


def test_a_stranger_is_named(cli: Cli) -> None:
    done = cli("unbind", "nobody@example.com")
    assert (done.code, done.out) == (1, "")
    assert "there is no user nobody@example.com" in done.err
    assert "`nanogpt-proxy list` shows all users" in done.err
