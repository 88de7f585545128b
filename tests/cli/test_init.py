"""The commands: which there are, and how little they import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nanogpt_proxy.cli import commands, main

NAMES = [
    "serve",
    "add-user",
    "set-key",
    "list",
    "disable-user",
    "enable-user",
    "del-user",
    "unbind",
    "import",
    "export",
    "rotate-key",
    "token",
    "migrate",
    "verify-privacy",
    "healthcheck",
]


def test_these_are_the_commands() -> None:
    assert list(commands.commands) == NAMES
    assert all(command.help for command in commands.commands.values())


def test_main_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nanogpt-proxy", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("nanogpt-proxy ")


def test_what_a_command_does_not_need_is_not_imported() -> None:
    code = (
        "import sys, nanogpt_proxy.cli\n"
        "heavy = ['sqlalchemy', 'cryptography', 'asyncio', 'uvloop', 'httptools', 'alembic']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
