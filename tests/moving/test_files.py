"""A file is recognised by what is in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.moving.exported import FORMAT, Exported
from nanogpt_proxy.moving.files import recognise
from nanogpt_proxy.moving.lists import CsvList, JsonList
from nanogpt_proxy.moving.seed import SeedFile

EXPORT = f'{{"format": "{FORMAT}", "exported_at": "", "accounts": []}}'


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[]", JsonList),
        ('\ufeff \n[{"email":"a@x","api_key":"k"}]', JsonList),
        (EXPORT, Exported),
        ("a@x,k\n", CsvList),
        ("\ufeffemail,api_key\n", CsvList),
        ("", CsvList),
    ],
)
def test_text_is_recognised(tmp_path: Path, text: str, kind: type) -> None:
    path = tmp_path / "keys.db"
    path.write_text(text, "utf-8")
    assert type(recognise(path)) is kind


def test_a_database_is_recognised(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "users.json")
    connection.execute("CREATE TABLE users (email, api_key)")
    connection.close()
    assert type(recognise(tmp_path / "users.json")) is SeedFile


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[1,", "not JSON from line 1 on"),
        (b"{}", "no export"),
        (b"a@x,\xff", "neither a database nor UTF-8"),
        (b"[" * 100_000, "of no kind"),
        (b"[" + b"1" * 5000 + b"]", "of no kind"),
        (b"\0" * (64 * 1024 * 1024 + 1), "more than 64 MiB"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, raw: bytes, why: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(ProxyError, match=why):
        recognise(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProxyError, match="cannot be read: No such file"):
        recognise(tmp_path / "nothing")
    with pytest.raises(ProxyError, match="cannot be read: Is a directory"):
        recognise(tmp_path)
