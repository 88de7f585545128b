"""The service is put together, serves, and stops; `functional` runs it as people do."""

from __future__ import annotations

import gc
import http.client
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.app import Listening, serve
from nanogpt_proxy.errors import ConfigurationError, ProxyError, WrongMasterKey
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import Settings


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a service may set in a process of its own is put back."""
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_: None)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    token = Secret("npt-0123456789abcdef")
    return replace(
        Settings(),
        proxy_port=0,
        data_dir=tmp_path / "data",
        proxy_token=(token,),
        upstream_url="http://127.0.0.1:9/api/v1",
        drain_seconds=0.0,
    )


class Visit:
    """Asks a running service, from outside of its loop, and ends it."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths
        self.answers: list[tuple[int, Any]] = []
        self.told: Listening | None = None
        self.thread = threading.Thread(target=self._ask)

    def __call__(self, listening: Listening) -> None:
        self.told = listening
        self.thread.start()

    def _ask(self) -> None:
        assert self.told is not None
        try:
            for path in self.paths:
                client = http.client.HTTPConnection(self.told.host, self.told.port, timeout=10)
                client.request("GET", path)
                answer = client.getresponse()
                self.answers.append((answer.status, json.loads(answer.read())))
                client.close()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def visited(settings: Settings, *paths: str) -> Visit:
    visit = Visit(*paths)
    assert serve(settings, announce=visit) == 0
    visit.thread.join()
    return visit


def test_it_serves_until_it_is_told_to_stop(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    visit = visited(settings, "/health/live", "/health/ready", "/v1/models")
    assert visit.answers[:2] == [(200, {"status": "alive"}), (200, {"status": "ready"})]
    status, said = visit.answers[2]
    assert (status, said["error"]["code"]) == (401, "connection_token_missing")
    told = visit.told
    assert told is not None and told.host == "127.0.0.1" and told.port > 0
    assert told.token == settings.proxy_token[0]
    assert told.first_start and "back up" in told.notes[0]
    said_lines = capfd.readouterr().err.splitlines()
    words = [line.split(maxsplit=2)[2] for line in said_lines]
    assert words[0] == f"listening host=127.0.0.1 port={told.port}"
    assert [line.split()[0] for line in words if not line.startswith("request ")] == [
        "listening",
        "stopping",
        "stopped",
    ]
    (request,) = (line for line in words if line.startswith("request "))
    assert "outcome=connection_token_missing" in request


def test_the_second_start_is_not_the_first(settings: Settings) -> None:
    assert visited(settings).told is not None
    told = visited(settings).told
    assert told is not None and not told.first_start and told.notes == ()


def test_requests_are_logged_only_where_wanted(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    quiet = replace(settings, log_requests=False, log_format="json")
    visited(quiet, "/v1/models")
    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["message"] for line in said] == ["listening", "stopping", "stopped"]


def refused(settings: Settings) -> ProxyError:
    def announce(_: Listening) -> None:
        raise AssertionError("it must not start")

    with pytest.raises((ConfigurationError, WrongMasterKey)) as caught:
        serve(settings, announce=announce)
    return caught.value


def test_a_taken_port_stops_the_start_with_the_setting_to_change(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused(replace(settings, proxy_port=taken.getsockname()[1]))
    assert "PROXY_PORT" in str(error)


def test_a_wrong_master_key_stops_the_start(settings: Settings) -> None:
    visited(replace(settings, db_encryption_key=Secret("0123456789abcdef" * 4)))
    error = refused(replace(settings, db_encryption_key=Secret("fedcba9876543210" * 4)))
    assert isinstance(error, WrongMasterKey)


def test_what_is_told_shows_no_token() -> None:
    told = Listening("127.0.0.1", 3000, Secret("npt-0123456789abcdef"), True, ())
    assert "npt-" not in repr(told)
