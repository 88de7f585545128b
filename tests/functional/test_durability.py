"""What was acknowledged is there, however the process ended."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.models import Secret
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

MASTER = "0123456789abcdef" * 4
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
ADDS = 200

ADDER = f"""
import asyncio, pathlib, sys
from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.models import Secret
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

async def main():
    store = await Store.open(pathlib.Path(sys.argv[1]))
    accounts = Accounts(store, Vault(Secret({MASTER!r})))
    for n in range({ADDS}):
        await accounts.add(f"user{{n}}@example.com", Secret({KEY!r}))
        print(f"user{{n}}@example.com", flush=True)

asyncio.run(main())
"""


def add_until_killed(path: Path, after: int) -> list[str]:
    """The e-mails whose adding was acknowledged before, or while, the process was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", ADDER, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(after)]
    process.kill()
    acknowledged += process.stdout.readlines()
    process.stdout.close()
    assert process.wait(60) == -9
    return [line.strip() for line in acknowledged if line.endswith("\n")]


@pytest.mark.parametrize("after", [1, 60, 150])
async def test_a_kill_among_200_adds_loses_no_acknowledged_one(tmp_path: Path, after: int) -> None:
    path = tmp_path / "data" / "nanogpt-proxy.db"
    acknowledged = await asyncio.to_thread(add_until_killed, path, after)
    assert after <= len(acknowledged) < ADDS
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    store = await Store.open(path)
    vault = Vault(Secret(MASTER))
    found = {account.email: account for account in await store.accounts.list_all()}
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 1  # the one that was being added
    for account in found.values():
        assert account.sealed_key is not None
        assert vault.open(account.sealed_key, account.id).reveal() == KEY
    seq, _ = await store.changes.since(0)
    assert seq == len(found)
    await Accounts(store, vault).add("after@example.com", Secret(KEY))
    await store.close()
