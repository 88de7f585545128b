"""Where a key is read from."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from nanogpt_proxy.cli.secret_input import read_key, read_secret
from nanogpt_proxy.errors import InvalidInput, InvalidKey

KEY = "01234567-89ab-cdef-0123-456789abcdef"


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", [KEY, f"  {KEY} "])
def test_at_a_terminal_it_is_typed_unseen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    def prompt(text: str, **options: Any) -> str:
        assert text == "NanoGPT API key of alice@example.com"
        assert options["hide_input"]
        assert options["err"]
        return typed

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "prompt", prompt)
    assert read_key(None, "alice@example.com").reveal() == KEY
    assert capsys.readouterr() == ("", "")


def test_nothing_typed_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "prompt", lambda *_, **options: options["default"])
    with pytest.raises(InvalidKey):
        read_key(None, "alice@example.com")


@pytest.mark.parametrize("twice", [False, True])
def test_a_secret_is_typed_unseen(monkeypatch: pytest.MonkeyPatch, twice: bool) -> None:
    def prompt(text: str, **options: Any) -> str:
        assert text == "Passphrase"
        assert options["hide_input"]
        assert options["err"]
        assert options["confirmation_prompt"] is twice
        return " as it is "

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "prompt", prompt)
    assert read_secret("Passphrase", None, twice=twice).reveal() == " as it is "


@pytest.mark.parametrize("file", [None, "-"])
def test_a_secret_is_a_line_of_stdin(monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" as it is \r\nnot read"))
    assert read_secret("Passphrase", file).reveal() == " as it is "


def test_a_secret_is_a_line_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("as it is\nnot read")
    assert read_secret("Passphrase", str(tmp_path / "secret")).reveal() == "as it is"


def test_a_secret_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "empty").touch()
    for name, why in (("binary", "UTF-8"), ("empty", "nothing"), ("gone", "No such file")):
        with pytest.raises(InvalidInput, match=f"^Passphrase: .*{why}"):
            read_secret("Passphrase", str(tmp_path / name))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidInput, match="nothing"):
        read_secret("Passphrase", None)
