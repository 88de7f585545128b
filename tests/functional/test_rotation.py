"""The encryption key is changed under a running proxy, and under a kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.settings import load
from nanogpt_proxy.vault import Vault
from standin.process import StandIn
from tests.functional.running import MASTER, TOKEN, Proxy, User

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
OTHER = "0123456789abcdef" * 4
OLD_ID = Vault(Secret(MASTER)).key_id
ROWS = 500
CHAT = b'{"model":"standin/ok","messages":[{"role":"user","content":"x"}]}'
USERS = [
    User(f"user{n:03}@example.com", f"sk-nano-0a0a0a0a-0000-4000-8000-{n:012}") for n in range(ROWS)
]
Launch = Callable[..., Proxy]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with many users, and with its encryption key in a file."""
    data = tmp_path_factory.mktemp("many") / "data"
    (data.parent / ".env").touch()

    async def enrol() -> None:
        data.mkdir(mode=0o700)
        (data / "encryption.key").write_text(MASTER + "\n")
        (data / "encryption.key").chmod(0o600)
        opened = await open_store_and_vault(load({"DATA_DIR": str(data)}, cwd=data.parent))
        accounts = Accounts(opened.store, opened.vault)
        for user in USERS:
            await accounts.add(user.email, Secret(user.key))
        await opened.store.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(enrol())).result()
    return data


@pytest.fixture
def run(nano: StandIn, many: Path, tmp_path: Path) -> Iterator[Launch]:
    started: list[Proxy] = []

    def run(**settings: object) -> Proxy:
        shutil.copytree(many, tmp_path / "data")
        (tmp_path / ".env").touch()  # or the one of the checkout would be read
        environ = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": tmp_path / "data",
            "PROXY_TOKEN": TOKEN,
            "PROXY_PORT": 0,
            "UPSTREAM_URL": nano.base_url,
            **settings,
        }
        proxy = Proxy({name: str(value) for name, value in environ.items()}, tmp_path)
        started.append(proxy)
        proxy.wait_listening()
        return proxy

    yield run
    for proxy in started:
        proxy.stop()
        proxy.check_said([TOKEN, MASTER, OTHER, *(user.key for user in USERS)])


def ask(proxy: Proxy, user: User) -> int:
    with proxy.connect() as line:
        return line.ask("POST", "/v1/chat/completions", user.headers(), CHAT).status


def asked_while(proxy: Proxy, work: Callable[[], object]) -> list[int]:
    """The answers to all users in turn, from before the work until after it."""
    statuses: list[int] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            statuses.extend(ask(proxy, user) for user in USERS[::7])

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        work()
    finally:
        ended.set()
        thread.join()
    return statuses


def sealed_by_old(data: Path) -> int:
    connection = sqlite3.connect(data / "nanogpt-proxy.db")
    query = "SELECT count(*) FROM accounts WHERE sealed_key LIKE ?"
    (count,) = connection.execute(query, [f"npk1.{OLD_ID}.%"]).fetchone()
    connection.close()
    return int(count)


def remains(data: Path) -> bool:
    """Whether any file still holds something that the old key has sealed."""
    return any(OLD_ID.encode() in path.read_bytes() for path in data.iterdir())


def test_calls_go_on_while_the_key_of_the_file_is_changed(run: Launch, tmp_path: Path) -> None:
    proxy = run()
    assert ask(proxy, USERS[0]) == 200
    statuses = asked_while(proxy, lambda: proxy.command("rotate-key"))
    assert set(statuses) == {200}
    assert len(statuses) >= len(USERS[::7])
    assert not remains(tmp_path / "data")
    assert {ask(proxy, user) for user in USERS} == {200}
    with proxy.connect() as line:
        assert line.ask("GET", "/health/ready").status == 200
    proxy.command("set-key", USERS[0].email, stdin=USERS[1].key)
    assert ask(proxy, USERS[0]) == 200


def test_calls_go_on_while_the_key_of_the_settings_is_changed(run: Launch, tmp_path: Path) -> None:
    proxy = run(DB_ENCRYPTION_KEY=OTHER, DB_ENCRYPTION_KEY_PREVIOUS=MASTER)
    statuses = asked_while(proxy, lambda: proxy.command("rotate-key"))
    assert set(statuses) == {200}
    assert not remains(tmp_path / "data")
    del proxy.environ["DB_ENCRYPTION_KEY_PREVIOUS"]
    assert len(proxy.command("list").splitlines()) == ROWS + 1


def test_killed_in_the_middle_of_500_rows_it_goes_on(run: Launch, tmp_path: Path) -> None:
    proxy, data = run(), tmp_path / "data"
    rotating = subprocess.Popen(
        [COMMAND, "rotate-key"], env=proxy.environ, cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 30
    while sealed_by_old(data) > ROWS - 100:
        assert time.monotonic() < until
        assert rotating.poll() is None
    rotating.kill()
    assert rotating.wait(30) == -9
    left = sealed_by_old(data)
    assert 0 < left < ROWS
    assert {ask(proxy, user) for user in USERS[::3]} == {200}
    assert (data / "encryption.key").read_text().strip() == MASTER
    assert f"sealed {left} API keys anew" in proxy.command("rotate-key")
    assert not remains(data)
    assert {ask(proxy, user) for user in USERS[::3]} == {200}
    shut = subprocess.run(
        [COMMAND, "list"],
        env=proxy.environ | {"DB_ENCRYPTION_KEY": MASTER},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shut.returncode == 1
    assert "wrong" in shut.stderr


def test_with_one_key_in_the_environment_it_tells_the_steps(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    done = subprocess.run(
        [COMMAND, "rotate-key"],
        env={"PATH": os.environ["PATH"], "DATA_DIR": "data", "DB_ENCRYPTION_KEY": MASTER},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "restart the proxy; 3. run `nanogpt-proxy rotate-key`" in done.stderr
    assert not (tmp_path / "data").exists()
