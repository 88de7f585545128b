"""What the command line changes is in force in another process within one second."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from nanogpt_proxy.directory import NOT_LOADED, Directory
from nanogpt_proxy.models import Account
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.settings import load

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
ALICE = "alice@example.com"
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
OTHER = "sk-nano-fedcba98-7654-3210-fedc-ba9876543210"
SECONDS = 1.0


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".env").touch()  # or the one of the checkout would be read
    return {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")}


async def command(environ: dict[str, str], *args: str, stdin: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *args,
        env=environ,
        cwd=Path(environ["DATA_DIR"]).parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.communicate(stdin.encode())
    assert process.returncode == 0


async def seen_after(directory: Directory, email: str) -> Account | None:
    """What is known once the old value is gone, which must be soon."""
    begin = time.monotonic()
    while directory.find(email) is not NOT_LOADED:
        await asyncio.sleep(0.01)
        assert time.monotonic() - begin < SECONDS
    return await directory.load(email)


async def test_every_change_is_in_force_within_a_second(
    environ: dict[str, str], tmp_path: Path
) -> None:
    opened = await open_store_and_vault(load(environ, cwd=tmp_path))
    directory = Directory(opened.store, opened.vault)
    await directory.start()
    assert await directory.load(ALICE) is None

    await command(environ, "add-user", ALICE, stdin=KEY)
    added = await seen_after(directory, ALICE)
    assert added is not None
    assert added.key is not None
    assert added.key.reveal() == KEY

    await command(environ, "set-key", ALICE, stdin=OTHER)
    changed = await seen_after(directory, ALICE)
    assert changed is not None
    assert changed.key is not None
    assert changed.key.reveal() == OTHER

    await command(environ, "disable-user", ALICE)
    disabled = await seen_after(directory, ALICE)
    assert disabled is not None
    assert disabled.disabled

    await command(environ, "del-user", "--yes", ALICE)
    assert await seen_after(directory, ALICE) is None
    await directory.stop()
    await opened.store.close()
