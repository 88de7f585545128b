"""The real `serve`: what it says, where, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".env").touch()  # or the one of the checkout would be read
    data = str(tmp_path / "data")
    return {"PATH": os.environ["PATH"], "DATA_DIR": data, "PROXY_PORT": "0"}


def test_the_first_start_tells_all_but_the_token(environ: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline()
    found = re.fullmatch(r"nanogpt-proxy listens on http://127\.0\.0\.1:(\d+)\n", first)
    assert found, first
    asked = subprocess.run(
        [COMMAND, "healthcheck"],
        env=environ | {"PROXY_PORT": found[1]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    process.send_signal(signal.SIGTERM)
    with process.stdout, process.stderr:  # `communicate` loses what is buffered
        out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=30)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "ready\n", "")
    assert process.returncode == 0
    assert f"OPENAI_API_BASE_URL=http://127.0.0.1:{found[1]}/v1\n" in out
    assert "token: run `nanogpt-proxy token`\n" in out
    assert "nanogpt-proxy: hint: made a new encryption key: back up" in err
    for name in ("proxy.token", "encryption.key"):
        assert (tmp_path / "data" / name).read_text().strip() not in out + err


def test_a_wrong_encryption_key_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    def call(command: str, key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, command],
            env=environ | {"DB_ENCRYPTION_KEY": key},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert call("list", "0123456789abcdef" * 4).returncode == 0
    done = call("serve", "fedcba9876543210" * 4)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nanogpt-proxy: error: the encryption key (DB_ENCRYPTION_KEY) is wrong" in done.stderr
    assert "Traceback" not in done.stderr
