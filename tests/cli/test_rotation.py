"""`rotate-key`: what it prints, and with which exit code it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
KEY = b"sk-nano-01234567-89ab-cdef-0123-456789abcdef"
ONE, TWO = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def test_the_file_gets_a_new_key_that_is_to_be_backed_up(cli: Cli, data: Path) -> None:
    cli("add-user", "alice@example.com", stdin=KEY)
    before = (data / "encryption.key").read_text()
    done = cli("rotate-key")
    assert done.code == 0
    assert done.out.startswith("sealed 1 API keys anew; the encryption key is now ")
    assert f"back up {data / 'encryption.key'}" in done.err
    assert (data / "encryption.key").read_text() != before
    assert cli("list").code == 0


def test_keys_of_the_settings_are_changed_with_the_previous_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_ENCRYPTION_KEY", ONE)
    cli("add-user", "alice@example.com", stdin=KEY)
    refused = cli("rotate-key")
    assert (refused.code, refused.out) == (2, "")
    assert "DB_ENCRYPTION_KEY_PREVIOUS" in refused.err
    monkeypatch.setenv("DB_ENCRYPTION_KEY", TWO)
    monkeypatch.setenv("DB_ENCRYPTION_KEY_PREVIOUS", ONE)
    done = cli("rotate-key")
    assert (done.code, "sealed 1 API keys anew" in done.out) == (0, True)
    assert "remove DB_ENCRYPTION_KEY_PREVIOUS" in done.err
    again = cli("rotate-key")
    assert (again.code, "already" in again.out) == (0, True)
    for secret in (ONE, TWO):
        assert secret not in "".join(each.out + each.err for each in (refused, done, again))
