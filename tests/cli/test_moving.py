"""`import` and `export`: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.moving.test_seed import make, sealed

Cli = Callable[..., Any]
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
OTHER = "sk-nano-fedcba98-7654-3210-fedc-ba9876543210"
PHRASE = b"a long passphrase\n"


@pytest.fixture
def users(tmp_path: Path) -> str:
    path = tmp_path / "users.json"
    rows = [("Alice@example.com", OTHER), ("bob@example.com", "sk-odd")]
    path.write_text(json.dumps([{"email": email, "api_key": key} for email, key in rows]))
    return str(path)


def test_without_yes_it_only_shows_what_it_would_do(cli: Cli, users: str) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("import", users)
    assert done.code == 0
    assert done.out.splitlines() == [
        "E-MAIL             KEY    WHAT",
        "alice@example.com  …3210  keep",
        "bob@example.com    …****  add",
        "1 to add, 0 to replace, 1 to keep",
    ]
    assert "nothing was written: --yes does it" in done.err
    assert "--replace" in done.err
    assert "the key of bob@example.com does not look like" in done.err
    assert [row["email"] for row in json.loads(cli("list", "--json").out)] == ["alice@example.com"]


def test_with_yes_users_who_exist_are_kept_or_replaced(cli: Cli, users: str) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("import", users, "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 added, 0 replaced, 1 kept")
    hints = [row["key_hint"] for row in json.loads(cli("list", "--json").out)]
    assert hints == ["cdef", "****"]
    done = cli("import", "--replace", "--yes", users)
    assert (done.code, done.out.splitlines()[-1]) == (0, "0 added, 2 replaced, 0 kept")
    hints = [row["key_hint"] for row in json.loads(cli("list", "--json").out)]
    assert hints == ["3210", "****"]


def test_an_empty_list_is_no_failure(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = cli("import", str(tmp_path / "empty"))
    assert (done.code, done.out) == (0, "0 to add, 0 to replace, 0 to keep\n")


@pytest.mark.parametrize("way", ["stdin", "dash", "file", "variable"])
def test_the_old_secret_comes_in_many_ways(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path = str(make(tmp_path / "keys.db", [("alice@example.com", sealed(KEY))]))
    (tmp_path / "secret").write_text("my old secret\n")
    more: list[str] = []
    if way == "dash":
        more = ["--old-secret-file", "-"]
    elif way == "file":
        more = ["--old-secret-file", str(tmp_path / "secret")]
    elif way == "variable":
        monkeypatch.setenv("OLD_DB_ENCRYPTION_KEY", "my old secret")
    stdin = b"my old secret\n" if way in ("stdin", "dash") else b""
    done = cli("import", path, "--yes", *more, stdin=stdin)
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 added, 0 replaced, 0 kept")
    assert "…cdef" in cli("list").out


@pytest.mark.parametrize("secret", [b"wrong", b""])
def test_a_wrong_old_secret_writes_nothing(
    cli: Cli, data: Path, tmp_path: Path, secret: bytes
) -> None:
    path = str(make(tmp_path / "keys.db", [("alice@example.com", sealed(KEY))]))
    done = cli("import", path, "--yes", stdin=secret)
    assert (done.code, done.out) == ((1, "") if secret else (2, ""))
    assert "Old DB_ENCRYPTION_KEY: nothing" in done.err or "old secret is wrong" in done.err
    assert not data.exists()


def test_two_spellings_of_one_user_are_both_named(cli: Cli, data: Path, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(f"Alice@x,{KEY}\nbob@x,{KEY}\nalice@X,{OTHER}\n")
    done = cli("import", str(tmp_path / "users.csv"), "--yes")
    assert (done.code, done.out) == (1, "")
    assert "line 1 and line 3 are one user: Alice@x and alice@X" in done.err
    assert not data.exists()


def test_an_export_with_keys_is_imported_again(cli: Cli, tmp_path: Path) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    cli("add-user", "bob@example.com", stdin=OTHER.encode())
    cli("disable-user", "bob@example.com")
    before = json.loads(cli("list", "--json").out)
    done = cli("export", "--with-keys", stdin=PHRASE)
    assert done.code == 0
    assert KEY not in done.out
    (tmp_path / "moved.json").write_text(done.out)
    for email in ("alice@example.com", "bob@example.com"):
        cli("del-user", email, "--yes")
    wrong = cli("import", str(tmp_path / "moved.json"), "--yes", stdin=b"another passphrase")
    assert (wrong.code, "passphrase is wrong" in wrong.err) == (1, True)
    assert cli("list", "--json").out == "[]\n"
    right = cli("import", str(tmp_path / "moved.json"), "--yes", stdin=PHRASE)
    assert right.code == 0
    assert "bob@example.com    …3210  add, disabled" in right.out
    assert json.loads(cli("list", "--json").out) == before


def test_an_export_without_keys_keeps_the_keys_that_are_there(cli: Cli, tmp_path: Path) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    done = cli("export")
    assert (done.code, json.loads(done.out)["keys"]) == (0, None)
    (tmp_path / "users.json").write_text(done.out)
    cli("disable-user", "alice@example.com")
    assert cli("import", str(tmp_path / "users.json"), "--replace", "--yes").code == 0
    (row,) = json.loads(cli("list", "--json").out)
    assert (row["state"], row["key_hint"]) == ("active", "cdef")


def test_an_export_into_a_file_is_for_its_owner_alone(cli: Cli, tmp_path: Path) -> None:
    cli("add-user", "alice@example.com", stdin=KEY.encode())
    (tmp_path / "phrase").write_bytes(PHRASE)
    path = tmp_path / "export.json"
    export = ["export", "--with-keys", "--passphrase-file", str(tmp_path / "phrase")]
    done = cli(*export, "--output", str(path))
    assert (done.code, done.out) == (0, f"wrote {path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cli(*export, "--output", str(path)).code == 1
    lost = cli("export", "--output", str(tmp_path / "no" / "folder"))
    assert (lost.code, "no such folder" in lost.err) == (1, True)
    read = cli("import", str(path), "--passphrase-file", str(tmp_path / "phrase"))
    assert (read.code, read.out.splitlines()[-1]) == (0, "0 to add, 0 to replace, 1 to keep")


@pytest.mark.parametrize("phrase", [b"", b"short\n"])
def test_keys_are_not_exported_without_a_good_passphrase(cli: Cli, phrase: bytes) -> None:
    done = cli("export", "--with-keys", stdin=phrase)
    assert (done.code, done.out) == (2, "")


def test_a_passphrase_without_keys_is_a_mistake(cli: Cli) -> None:
    assert cli("export", "--passphrase-file", "-").code == 2
