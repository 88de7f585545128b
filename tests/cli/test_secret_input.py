"""Where a key is read from."""

from __future__ import annotations

import sys
from typing import Any

import click
import pytest

from nanogpt_proxy.cli.secret_input import read_key
from nanogpt_proxy.errors import InvalidKey

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
