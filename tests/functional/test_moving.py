"""Users move in and out with the real command."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, User
from tests.functional.test_cli import at_a_terminal
from tests.moving.test_seed import make, sealed

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
SECRET, PHRASE = "my old secret", "a long passphrase"
CHAT = b'{"model":"standin/ok","messages":[{"role":"user","content":"x"}]}'
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".env").touch()  # or the one of the checkout would be read
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Run:
    def call(*args: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *args],
            input=stdin,
            env=environ | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def test_the_earlier_proxys_users_come_over(
    run: Run, environ: dict[str, str], tmp_path: Path
) -> None:
    make(tmp_path / "keys.db", [("Alice@Example.com", sealed(KEY)), ("bob@x", sealed(BOB.key))])
    wrong = run("import", "keys.db", "--yes", stdin="my old  secret\n")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "the old secret is wrong" in wrong.stderr
    assert not (tmp_path / "data").exists()
    shown = run("import", "keys.db", OLD_DB_ENCRYPTION_KEY=SECRET)
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (
        0,
        "2 to add, 0 to replace, 0 to keep",
    )
    assert run("list", "--json").stdout == "[]\n"
    typed = ["import", "keys.db", "--yes"]
    code, seen = at_a_terminal(typed, b"Old DB_ENCRYPTION_KEY:", SECRET.encode(), environ, tmp_path)
    assert (code, b"2 added" in seen) == (0, True)
    assert SECRET.encode() not in seen
    assert KEY.encode() not in seen
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["email"], row["key_hint"]) for row in rows] == [
        ("alice@example.com", "cdef"),
        ("bob@x", "0002"),
    ]


def test_a_house_is_moved_with_all_its_keys(run: Run, tmp_path: Path) -> None:
    run("add-user", "alice@example.com", stdin=KEY)
    run("add-user", "bob@example.com", stdin=BOB.key)
    run("disable-user", "bob@example.com")
    done = run("export", "--with-keys", "--output", "moved.json", stdin=f"{PHRASE}\n")
    assert (done.returncode, done.stdout) == (0, "wrote moved.json\n")
    assert KEY not in (tmp_path / "moved.json").read_text()
    new = {"DATA_DIR": str(tmp_path / "new"), "DB_ENCRYPTION_KEY": "0123456789abcdef" * 4}
    assert run("import", "moved.json", "--yes", stdin=PHRASE, **new).returncode == 0
    assert run("list", "--json", **new).stdout == run("list", "--json").stdout


def test_all_are_written_or_none(run: Run, tmp_path: Path) -> None:
    run("add-user", "alice@example.com", stdin=KEY)
    lines = [f"user{n}@example.com,{KEY}" for n in range(50)]
    (tmp_path / "users.csv").write_text("\n".join([*lines, "USER7@example.com,x"]))
    done = run("import", "users.csv", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "user7@example.com and USER7@example.com" in done.stderr
    (tmp_path / "users.csv").write_text("\n".join(lines))
    # the database itself refuses one in the middle
    connection = sqlite3.connect(tmp_path / "data" / "nanogpt-proxy.db")
    connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON accounts WHEN new.email = 'user40@example.com' "
        "BEGIN SELECT raise(ABORT, 'no'); END"
    )
    connection.commit()
    assert run("import", "users.csv", "--yes").returncode == 1
    assert len(json.loads(run("list", "--json").stdout)) == 1
    connection.execute("DROP TRIGGER no")
    connection.close()
    assert run("import", "users.csv", "--yes").returncode == 0
    assert len(json.loads(run("list", "--json").stdout)) == 51


def test_a_running_proxy_serves_who_was_imported(start: Start, tmp_path: Path) -> None:
    proxy = start()
    new = User("new@example.com", KEY)
    (tmp_path / "users.json").write_text(
        json.dumps([{"email": new.email, "api_key": KEY}, {"email": ALICE.email, "api_key": KEY}])
    )
    assert "1 added" in proxy.command("import", str(tmp_path / "users.json"), "--yes")
    with proxy.connect() as line:
        for user in (new, ALICE):
            answer = line.ask("POST", "/v1/chat/completions", user.headers(), CHAT)
            assert answer.status == 200
