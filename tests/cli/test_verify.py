"""`verify-privacy` shows what goes up, and fails when something does that must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.gateway import border

Cli = Callable[..., Any]


def test_it_prints_what_left_the_house(cli: Cli, data: Path) -> None:
    done = cli("verify-privacy")
    assert (done.code, done.err) == (0, "")
    assert "    authorization: Bearer <the user's key>\n" in done.out
    assert "this goes up" in done.out and "sk-nano-" not in done.out
    assert "    nothing went up\n" in done.out
    assert done.out.endswith("planted words\nnone of the words left the house\n")
    assert not data.exists()


def test_a_leak_is_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "redact", lambda body, tag: body)
    done = cli("verify-privacy", "--quiet")
    assert done.code == 1
    assert "error: POST /v1/embeddings, JSON, plain: left the house: user (JSON, plain)" in done.err
    assert done.out.count("\n") == 1


def test_the_operators_own_settings_are_tried(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_TAG", "hmac")
    done = cli("verify-privacy")
    assert done.code == 0
    assert '{"user":"' in done.out
    monkeypatch.setenv("USER_TAG", "name")
    assert cli("verify-privacy").code == 2
