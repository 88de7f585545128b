"""`token` prints what Open WebUI needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def test_a_token_is_made_once(cli: Cli, data: Path) -> None:
    first = cli("token")
    assert first.code == 0
    assert first.err == ""
    assert first.out == (data / "proxy.token").read_text()
    assert cli("token").out == first.out


def test_the_first_of_several_is_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_TOKEN", "first-token-0123456,second-token-012345")
    assert cli("token").out == "first-token-0123456\n"
