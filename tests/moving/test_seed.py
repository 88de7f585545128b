"""The earlier proxy's database is read, and a wrong secret is recognised."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.moving.seed import SeedFile

SECRET = Secret("my old secret")
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
BARE = "fedcba98-7654-3210-fedc-ba9876543210"


def sealed(key: str, secret: Secret = SECRET) -> str:
    digest = hashlib.sha256(secret.reveal().encode()).digest()
    return Cipher(AES(digest), CTR(bytes(16))).encryptor().update(key.encode()).hex()


def make(path: Path, rows: list[tuple[object, object]]) -> Path:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (email TEXT PRIMARY KEY, api_key TEXT)")
    connection.executemany("INSERT INTO users VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def test_users_and_keys_are_read_and_the_file_is_left_alone(tmp_path: Path) -> None:
    path = make(
        tmp_path / "keys #1?.db", [("b@x", sealed(KEY)), ("A@x", sealed(BARE)), ("c@x", "")]
    )
    before = path.read_bytes()
    rows = SeedFile(path).rows(SECRET)
    assert [(row.where, row.email, row.key) for row in rows] == [
        ("row 1", "b@x", KEY),
        ("row 2", "A@x", BARE),
        ("row 3", "c@x", None),
    ]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keys", [[KEY], [BARE, KEY], ["sk-odd-but-long-enough"], ["x"]])
@pytest.mark.parametrize("wrong", ["", "My old secret", "my old secret\n"])
def test_a_wrong_secret_is_recognised(tmp_path: Path, keys: list[str], wrong: str) -> None:
    path = make(tmp_path / "keys.db", [(f"u{n}@x", sealed(key)) for n, key in enumerate(keys)])
    with pytest.raises(ProxyError, match="old secret is wrong") as caught:
        SeedFile(path).rows(Secret(wrong))
    assert caught.value.exit_code == 1


def test_unusual_keys_are_believed_when_they_are_no_chance(tmp_path: Path) -> None:
    path = make(tmp_path / "keys.db", [("a@x", sealed("sk-odd-but-long-enough"))])
    assert SeedFile(path).rows(SECRET)[0].key == "sk-odd-but-long-enough"
    path = make(tmp_path / "more.db", [("a@x", sealed(KEY)), ("b@x", sealed("odd"))])
    assert SeedFile(path).rows(SECRET)[1].key == "odd"


def test_no_users_need_no_secret(tmp_path: Path) -> None:
    assert SeedFile(make(tmp_path / "keys.db", [])).rows(SECRET) == []


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("a@x", "not hex")], "not hex"),
        ([("a@x", b"\x00")], "row 1: e-mail and key must be text"),
        ([("a@x", sealed(KEY)), (None, "")], "row 2: e-mail and key must be text"),
    ],
)
def test_rows_of_another_kind_are_refused(
    tmp_path: Path, rows: list[tuple[object, object]], why: str
) -> None:
    with pytest.raises(ProxyError, match=why):
        SeedFile(make(tmp_path / "keys.db", rows)).rows(SECRET)


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(ProxyError, match="not the database of an earlier"):
        SeedFile(path).rows(SECRET)
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 200)
    with pytest.raises(ProxyError, match="not the database of an earlier"):
        SeedFile(path).rows(SECRET)
