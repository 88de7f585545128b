"""The real proxy before a stand-in NanoGPT, each in a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.settings import load
from standin.process import StandIn
from tests.functional.running import DISABLED, ENROLLED, MASTER, TOKEN, Proxy
from tests.functional.wire import Wire

SECRETS = (TOKEN, MASTER, *(user.key.removeprefix("sk-nano-") for user in ENROLLED if user.key))


class Start(Protocol):
    """Starts a proxy with settings of its own, in front of `nano` unless they say otherwise."""

    def __call__(self, *prefix: str, **settings: object) -> Proxy:
        """`prefix` is a command that runs ours; `None` as a value takes a setting out."""


Connect = Callable[[], Wire]


@pytest.fixture(scope="session")
def nano() -> Iterator[StandIn]:
    """A NanoGPT for all tests; take `nano.state()["last"]` before and look at what came since."""
    with StandIn("--bad-keys", "1000000") as running:
        yield running


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which the users of `running` have their accounts."""
    directory = tmp_path_factory.mktemp("enrolled") / "data"
    environ = {"DATA_DIR": str(directory), "DB_ENCRYPTION_KEY": MASTER}

    async def enrol() -> None:
        opened = await open_store_and_vault(load(environ, cwd=directory.parent))
        accounts = Accounts(opened.store, opened.vault)
        for user in ENROLLED:
            await accounts.add(user.email, Secret(user.key) if user.key else None)
        await accounts.disable(DISABLED.email)
        await opened.store.close()

    (directory.parent / ".env").touch()
    with ThreadPoolExecutor(1) as thread:  # which has no event loop yet, whoever asks first
        thread.submit(lambda: asyncio.run(enrol())).result()
    return directory


def _settings(nano: StandIn, data: Path, given: dict[str, object]) -> dict[str, str]:
    environ: dict[str, object] = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": data,
        "DB_ENCRYPTION_KEY": MASTER,
        "PROXY_TOKEN": TOKEN,
        "PROXY_PORT": 0,
        "UPSTREAM_URL": nano.base_url,
        "LOG_LEVEL": "debug",
        **given,
    }
    return {name: str(value) for name, value in environ.items() if value is not None}


@pytest.fixture(scope="session")
def start_session(
    nano: StandIn, enrolled: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    yield from _starter(nano, enrolled, tmp_path_factory)


@pytest.fixture
def start(
    nano: StandIn, enrolled: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """`start(HEAD_TIMEOUT=0.2)` runs a proxy with that setting until the end of the test."""
    yield from _starter(nano, enrolled, tmp_path_factory)


def _starter(nano: StandIn, enrolled: Path, directories: pytest.TempPathFactory) -> Iterator[Start]:
    with contextlib.ExitStack() as endings:

        def start(*prefix: str, **settings: object) -> Proxy:
            directory = directories.mktemp("proxy")
            shutil.copytree(enrolled, directory / "data")
            (directory / ".env").touch()  # or the one of the checkout would be read
            environ = _settings(nano, directory / "data", settings)
            proxy = Proxy(environ, directory, prefix=prefix)
            endings.callback(proxy.check_said, SECRETS)
            endings.callback(proxy.stop)
            proxy.wait_listening()
            return proxy

        yield start


@pytest.fixture(scope="session")
def gateway(start_session: Start) -> Proxy:
    """A proxy with the documented defaults, shared by all tests that need no settings."""
    return start_session()


@pytest.fixture
def connect(gateway: Proxy) -> Iterator[Connect]:
    """Opens connections to `gateway`; they are closed at the end of the test."""
    opened: list[Wire] = []

    def open() -> Wire:
        opened.append(gateway.connect())
        return opened[-1]

    yield open
    for line in opened:
        line.close()


@pytest.fixture
def line(connect: Connect) -> Wire:
    """A connection to `gateway`."""
    return connect()
