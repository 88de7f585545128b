"""Every ending is a sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from nanogpt_proxy.cli import commands
from nanogpt_proxy.cli.ending import run

Cli = Callable[..., Any]
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"


def ending_with(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        key_in_a_local_variable = KEY
        assert key_in_a_local_variable
        raise error

    return command


@pytest.mark.parametrize(
    "args",
    [["frob"], ["add-user"], ["list", "--frob"], ["add-user", "a@b", "key", "more"]],
)
def test_wrong_usage_is_explained(cli: Cli, args: list[str]) -> None:
    done = cli(*args)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("nanogpt-proxy: error: ")
    assert second.startswith("nanogpt-proxy: hint: `nanogpt-proxy ")
    assert "--help` tells" in second


def test_no_command_shows_the_commands(cli: Cli) -> None:
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: nanogpt-proxy")


def test_every_wrong_setting_is_named_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "many")
    monkeypatch.setenv("DB_ENCRYPTION_KEY", "weak")
    done = cli("list")
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("nanogpt-proxy: error: ")]) == 2
    assert "PROXY_PORT" in done.err
    assert "DB_ENCRYPTION_KEY" in done.err


@pytest.mark.parametrize("error", [click.Abort(), KeyboardInterrupt()])
def test_an_interrupted_command_failed(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ending_with(error), []) == 1
    assert "stopped" in capsys.readouterr().err


def test_the_unexpected_is_one_line_without_its_text(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ending_with(ValueError(KEY)), []) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "ValueError" in err
    assert KEY not in err
    assert "Traceback" not in err
    assert "LOG_LEVEL=debug" in err


@pytest.mark.usefixtures("data")
def test_for_debugging_there_is_a_traceback_without_local_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert run(ending_with(ValueError("why")), []) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert KEY not in err


@pytest.mark.usefixtures("data")
def test_the_unexpected_with_broken_settings_is_still_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROXY_PORT", "many")
    assert run(ending_with(ValueError("why")), []) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_may_choose_its_exit_code() -> None:
    @click.command()
    def seven() -> int:
        return 7

    assert run(seven, []) == 7


def test_help_and_version_are_results(cli: Cli) -> None:
    assert cli("--help").code == 0
    assert cli("list", "--help").out.startswith("Usage: nanogpt-proxy list")
    assert cli("--version").out.startswith("nanogpt-proxy ")


def test_streams_that_are_missing_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run(commands, ["--version"]) == 0
