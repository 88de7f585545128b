"""Runs commands in this process, with settings and data of their own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanogpt_proxy.cli import commands
from nanogpt_proxy.cli.ending import run
from nanogpt_proxy.settings import LATER, SETTINGS


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """DATA_DIR of the commands, which see no other setting."""
    for name in [setting.name for setting in SETTINGS] + list(LATER):
        for spelling in (name, name.lower(), f"{name}_FILE"):
            monkeypatch.delenv(spelling, raising=False)
    data = tmp_path / "data"
    monkeypatch.setenv("DATA_DIR", str(data))
    (tmp_path / ".env").touch()  # or the one of the checkout would be read
    monkeypatch.chdir(tmp_path)
    return data


@pytest.fixture
def cli(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*args: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        capsys.readouterr()
        code = run(commands, args)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call
