"""Commands that change one user: what they print, and with which exit code they end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

Cli = Callable[..., Any]
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
OTHER = "sk-nano-fedcba98-7654-3210-fedc-ba9876543210"


class Terminal:
    def isatty(self) -> bool:
        return True


def test_a_user_is_added_with_a_key_from_stdin(cli: Cli, data: Path) -> None:
    done = cli("add-user", " Alice@Example.com", stdin=f"{KEY}\r\nnot read".encode())
    assert (done.code, done.out) == (0, "added alice@example.com (key …cdef)\n")
    (note,) = done.err.splitlines()
    assert "back up" in note
    assert str(data / "encryption.key") in note
    done = cli("add-user", "bob@example.com", stdin=KEY.encode())
    assert (done.code, done.err) == (0, "")


def test_a_key_as_an_argument_works_with_a_hint_about_the_history(cli: Cli) -> None:
    done = cli("add-user", "alice@example.com", "sk-abc123")
    assert (done.code, done.out) == (0, "added alice@example.com (key …****)\n")
    assert "nanogpt-proxy: hint: the shell keeps this key in its history" in done.err
    assert "does not look like a NanoGPT key" in done.err
    assert "sk-abc123" not in done.err


def test_a_user_who_is_there_is_not_changed_and_set_key_is_named(cli: Cli) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("add-user", "alice@example.com", stdin=OTHER.encode())
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "nanogpt-proxy: error: there is a user alice@example.com already",
        "nanogpt-proxy: hint: `nanogpt-proxy set-key alice@example.com` changes their key",
    ]
    assert "…cdef" in cli("list").out


def test_a_key_is_changed(cli: Cli) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("set-key", "alice@example.com", stdin=OTHER.encode())
    assert (done.code, done.out) == (0, "changed the key of alice@example.com (key …3210)\n")


@pytest.mark.parametrize(
    ("email", "key", "why"),
    [
        ("alice", KEY, "one @"),
        ("alice@example.com", "", "the API key is empty"),
        ("alice@example.com", "two words", "no blanks"),
        ("alice@example.com", "sk-nano-mgmt-1234", "management token"),
        ("alice@example.com", "sk-\udcff", "printable"),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_repeated(
    cli: Cli, data: Path, email: str, key: str, why: str
) -> None:
    done = cli("add-user", email, stdin=key.encode(errors="surrogateescape"))
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not key or key not in done.err
    assert not data.exists()


def test_a_user_is_disabled_and_enabled(cli: Cli) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    assert cli("disable-user", "Alice@example.com").out == "disabled alice@example.com\n"
    assert "disabled" in cli("list").out
    assert cli("enable-user", "alice@example.com").out == "enabled alice@example.com\n"
    assert "active" in cli("list").out


def test_a_user_is_deleted_without_asking(cli: Cli) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("del-user", "alice@example.com", "--yes")
    assert (done.code, done.out) == (0, "deleted alice@example.com\n")
    assert cli("list", "--json").out == "[]\n"


def test_nobody_is_deleted_unasked(cli: Cli) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("del-user", "alice@example.com", stdin=b"y\n")
    assert (done.code, done.out) == (2, "")
    assert "--yes" in done.err
    assert "alice@example.com" in cli("list").out


@pytest.mark.parametrize("answer", [True, False])
def test_at_a_terminal_it_asks(cli: Cli, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    asked: list[str] = []

    def confirm(text: str, *, err: bool) -> bool:
        assert err
        asked.append(text)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    with monkeypatch.context() as patch:
        patch.setattr("nanogpt_proxy.cli.users.sys", type("sys", (), {"stdin": Terminal()}))
        done = cli("del-user", "alice@example.com")
    assert asked == ["Delete alice@example.com and their key?"]
    assert done.code == (0 if answer else 1)
    assert ("alice@example.com" in cli("list").out) is not answer


@pytest.mark.parametrize("command", ["set-key", "disable-user", "enable-user", "del-user"])
def test_a_stranger_is_named(cli: Cli, command: str) -> None:
    more = ["--yes"] if command == "del-user" else []
    done = cli(command, "nobody@example.com", *more, stdin=KEY.encode())
    assert (done.code, done.out) == (1, "")
    assert "nanogpt-proxy: error: there is no user nobody@example.com" in done.err
    assert "nanogpt-proxy: hint: `nanogpt-proxy list` shows all users" in done.err


def test_without_any_stdin_the_key_is_empty(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from nanogpt_proxy.cli import commands
    from nanogpt_proxy.cli.ending import run

    monkeypatch.setattr(sys, "stdin", None)
    assert run(commands, ["add-user", "alice@example.com"]) == 2
    assert run(commands, ["del-user", "alice@example.com"]) == 2
