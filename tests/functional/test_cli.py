"""The real command as people and scripts run it: streams, exit codes, terminals."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
KEY = "sk-nano-01234567-89ab-cdef-0123-456789abcdef"
OTHER = "sk-nano-fedcba98-7654-3210-fedc-ba9876543210"
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


def test_the_life_of_a_user(run: Run, tmp_path: Path) -> None:
    done = [
        run("add-user", "Alice@Example.com", stdin=f"{KEY}\n"),
        run("add-user", "alice@example.com", stdin=f"{OTHER}\n"),
        run("set-key", "alice@example.com", stdin=f"{OTHER}\n"),
        run("disable-user", "alice@example.com"),
        run("list"),
        run("list", "--json"),
        run("del-user", "alice@example.com"),
        run("del-user", "alice@example.com", "--yes"),
        run("enable-user", "alice@example.com"),
        run("migrate"),
    ]
    assert [each.returncode for each in done] == [0, 1, 0, 0, 0, 0, 2, 0, 1, 0]
    assert done[0].stdout == "added alice@example.com (key …cdef)\n"
    assert done[2].stdout == "changed the key of alice@example.com (key …3210)\n"
    assert re.search(r"alice@example\.com  disabled  …3210", done[4].stdout)
    (row,) = json.loads(done[5].stdout)
    assert (row["email"], row["state"]) == ("alice@example.com", "disabled")
    said = "".join(each.stdout + each.stderr for each in done)
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    for key in (KEY, OTHER):
        assert key not in said
        assert key.encode() not in written
    assert "Traceback" not in said
    failures = [each for each in done if each.returncode]
    assert all(each.stderr.startswith("nanogpt-proxy: error: ") for each in failures)
    assert all("\nnanogpt-proxy: hint: " in each.stderr for each in failures)


def test_the_key_may_be_an_argument(run: Run) -> None:
    done = run("add-user", "alice@example.com", "sk-abc123")
    assert (done.returncode, done.stdout) == (0, "added alice@example.com (key …****)\n")
    assert "history" in done.stderr


def test_a_wrong_encryption_key_is_named(run: Run) -> None:
    run("add-user", "alice@example.com", stdin=KEY, DB_ENCRYPTION_KEY="0123456789abcdef" * 4)
    done = run("list", DB_ENCRYPTION_KEY="fedcba9876543210" * 4)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the encryption key (DB_ENCRYPTION_KEY) is wrong" in done.stderr
    lost = run("list")
    assert (lost.returncode, lost.stdout) == (2, "")
    assert "backup" in lost.stderr


def test_wrong_settings_are_told_together(run: Run) -> None:
    done = run("list", PROXY_PORT="many", LOG_LEVEL="loud")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) >= 2
    assert "PROXY_PORT" in done.stderr
    assert "LOG_LEVEL" in done.stderr


def test_a_reader_that_has_enough_is_no_disaster(environ: dict[str, str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [COMMAND, "token"],
        env=environ,
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_a_terminal_without_some_letters_is_no_disaster(run: Run) -> None:
    done = run("add-user", "alice@example.com", stdin=KEY, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "added alice@example.com (key \\u2026cdef)\n")


def at_a_terminal(
    args: list[str], prompt: bytes, typed: bytes, environ: dict[str, str], cwd: Path
) -> tuple[int, bytes]:
    """Runs the command with a terminal of its own and answers once the prompt has appeared."""
    leader, follower = os.openpty()
    # A session leader gets the first terminal that it opens, so that prompts go there.
    adopt = (
        "import os, sys\n"
        "terminal = os.open(sys.argv[1], os.O_RDWR)\n"
        "for n in range(3):\n"
        "    os.dup2(terminal, n)\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", adopt, os.ttyname(follower), COMMAND, *args],
        start_new_session=True,
        env=environ,
        cwd=cwd,
    )
    seen = b""
    while prompt not in seen:
        seen += os.read(leader, 4096)
    os.close(follower)  # from here on the command holds the only one
    os.write(leader, typed + b"\n")
    while chunk := read_to_the_end(leader):
        seen += chunk
    os.close(leader)
    return process.wait(60), seen


def read_to_the_end(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # how Linux says that nobody is at the other side any more
        return b""


def test_at_a_terminal_the_key_is_asked_for_and_not_shown(
    environ: dict[str, str], tmp_path: Path
) -> None:
    prompt = b"NanoGPT API key of alice@example.com:"
    add = ["add-user", "alice@example.com"]
    code, seen = at_a_terminal(add, prompt, KEY.encode(), environ, tmp_path)
    assert code == 0
    assert KEY.encode() not in seen
    assert b"added alice@example.com" in seen


def test_at_a_terminal_deleting_is_asked_for(
    run: Run, environ: dict[str, str], tmp_path: Path
) -> None:
    run("add-user", "alice@example.com", stdin=KEY)
    delete, prompt = ["del-user", "alice@example.com"], b"Delete alice@example.com and their key?"
    code, seen = at_a_terminal(delete, prompt, b"n", environ, tmp_path)
    assert (code, b"nothing was deleted" in seen) == (1, True)
    code, seen = at_a_terminal(delete, prompt, b"y", environ, tmp_path)
    assert (code, b"deleted alice@example.com" in seen) == (0, True)
