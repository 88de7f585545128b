"""`serve` on an empty data directory, and what it leaves there for the next start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from standin.process import StandIn

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
KEY = "sk-nano-f1f1f1f1-0000-4000-8000-00000000f1f1"
MASTER = "0123456789abcdef" * 4
OTHER_MASTER = "fedcba9876543210" * 4
SECONDS = 30
Environ = dict[str, str]


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    (tmp_path / ".env").touch()  # or the one of the checkout would be read
    data = str(tmp_path / "data")
    return {
        "PATH": os.environ["PATH"],
        "DATA_DIR": data,
        "PROXY_PORT": "0",
        "UPSTREAM_URL": "http://127.0.0.1:9/api/v1",
    }


def call(environ: Environ, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *args],
        env=environ,
        cwd=Path(environ["DATA_DIR"]).parent,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Serving:
    """A `serve` that was started here; `base` once it listens."""

    def __init__(self, environ: Environ) -> None:
        self._process = subprocess.Popen(
            [COMMAND, "serve"],
            env=environ,
            cwd=Path(environ["DATA_DIR"]).parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._announced = ""
        self.base = ""

    def wait(self) -> None:
        """Until it has said its last word about where it listens."""
        assert self._process.stdout is not None
        while "users: run" not in self._announced:
            line = self._process.stdout.readline()
            assert line, self._process.communicate()
            self._announced += line
        (self.base,) = re.findall(r"listens on (http://127\.0\.0\.1:\d+)$", self._announced, re.M)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and all that it said on both streams."""
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=SECONDS)
        return self._process.returncode, self._announced + out + err

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


@contextlib.contextmanager
def serving(environ: Environ) -> Iterator[Serving]:
    """A running proxy, killed at the end unless it has been ended."""
    proxy = Serving(environ)
    try:
        proxy.wait()
        yield proxy
    finally:
        proxy.kill()


def status_of(url: str) -> int:
    with urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - loopback
        return int(answer.status)


def ask(base: str, token: str) -> str:
    """The answer to a chat message of Alice's."""
    said = {"model": "m", "messages": [{"role": "user", "content": "first words"}]}
    headers = {
        "Authorization": f"Bearer {token}",
        "X-OpenWebUI-User-Email": "alice@example.com",
        "Content-Type": "application/json",
    }
    request = Request(f"{base}/v1/chat/completions", json.dumps(said).encode(), headers)  # noqa: S310
    with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - loopback
        text: str = answer.read().decode()
    return text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_but_serve_and_add_user_leads_to_an_answer(
    environ: Environ, tmp_path: Path
) -> None:
    with StandIn() as nano, serving(environ | {"UPSTREAM_URL": nano.base_url}) as proxy:
        assert status_of(f"{proxy.base}/health/live") == 200
        assert status_of(f"{proxy.base}/health/ready") == 200
        token = call(environ, "token").stdout.strip()
        assert call(environ, "add-user", "alice@example.com", stdin=KEY).returncode == 0
        assert "first words" in ask(proxy.base, token)
        (seen,) = nano.requests()
        code, said = proxy.end()
    assert seen["key"] == KEY
    assert code == 0
    assert "Traceback" not in said
    for secret in (token, KEY, (tmp_path / "data" / "encryption.key").read_text().strip()):
        assert secret not in said


def test_the_first_start_makes_secrets_for_its_owner_alone(
    environ: Environ, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    before = os.umask(0)  # the laxest
    try:
        with serving(environ) as proxy:
            made = {path.name: mode(path) for path in data.iterdir()}
            code, said = proxy.end()
    finally:
        os.umask(before)
    assert code == 0
    assert mode(data) == 0o700
    assert {"encryption.key", "proxy.token", "nanogpt-proxy.db"} <= set(made)
    assert set(made.values()) == {0o600}
    assert re.fullmatch(r"[0-9a-f]{64}\n", (data / "encryption.key").read_text())
    assert re.fullmatch(r"npt-[\w-]{43}\n", (data / "proxy.token").read_text())
    assert f"back up {data / 'encryption.key'}" in said


def test_the_second_start_keeps_what_the_first_made(environ: Environ, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        with serving(environ) as proxy:
            code, said = proxy.end()
        data = tmp_path / "data"
        kept.append([(data / name).read_bytes() for name in ("encryption.key", "proxy.token")])
        assert code == 0
    assert kept[0] == kept[1]
    assert "back up" not in said


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_log_and_no_pipe_ever_holds_the_token(
    environ: Environ, tmp_path: Path, format: str
) -> None:
    with serving(environ | {"LOG_LEVEL": "debug", "LOG_FORMAT": format}) as proxy:
        token = (tmp_path / "data" / "proxy.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "X-API-Key": token}
        request = Request(f"{proxy.base}/v1/nothing?token={token}", headers=headers)  # noqa: S310
        with pytest.raises(OSError, match="404"):
            urlopen(request, timeout=SECONDS)  # noqa: S310 - loopback
        code, said = proxy.end()
    assert code == 0
    assert "token: run `nanogpt-proxy token`\n" in said
    assert token not in said
    assert token[4:] not in said


def test_a_terminal_shows_the_token_but_the_log_does_not(environ: Environ, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [COMMAND, "serve"],
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=subprocess.PIPE,
    )
    os.close(follower)
    seen = b""
    while b"users: run" not in seen:
        chunk = os.read(leader, 4096)
        assert chunk, process.communicate()
        seen += chunk
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=SECONDS)
    os.close(leader)
    token = (tmp_path / "data" / "proxy.token").read_bytes().strip()
    assert process.returncode == 0
    assert b"OPENAI_API_KEY=" + token in seen
    assert token not in log


def test_another_encryption_key_stops_the_second_start(environ: Environ) -> None:
    with serving(environ | {"DB_ENCRYPTION_KEY": MASTER}) as proxy:
        proxy.end()
    done = call(environ | {"DB_ENCRYPTION_KEY": OTHER_MASTER}, "serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the encryption key (DB_ENCRYPTION_KEY) is wrong" in done.stderr
    assert "hint: set DB_ENCRYPTION_KEY to the key that this database" in done.stderr
    assert "Traceback" not in done.stderr
    assert OTHER_MASTER not in done.stderr


def test_a_lost_key_file_stops_the_start_and_is_not_replaced(
    environ: Environ, tmp_path: Path
) -> None:
    call(environ, "add-user", "alice@example.com", stdin=KEY)
    key_file = tmp_path / "data" / "encryption.key"
    saved = key_file.read_bytes()
    key_file.unlink()
    done = call(environ, "serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert "encryption.key" in done.stderr
    assert "backup" in done.stderr
    assert not key_file.exists()
    key_file.write_bytes(saved)
    with serving(environ) as proxy:
        assert proxy.end()[0] == 0


def test_all_that_is_wrong_is_told_at_once_before_anything_is_made(
    environ: Environ, tmp_path: Path
) -> None:
    wrong = {
        "PROXY_PORT": "many",
        "LOG_LEVEL": "loud",
        "DB_ENCRYPTION_KEY": "0" * 64,
        "PROXY_TOKEN": "far-too-short",
        "UPSTREAM_URL": "http://user:open-sesame@nano-gpt.com/api/v1",
        "UPSTREAM_CA_FILE": str(tmp_path / "missing.pem"),
        "MODELS_TTL": "-1",
        "WORKERS": "4",
    }
    done = call(environ | wrong, "serve")
    assert (done.returncode, done.stdout) == (2, "")
    for name in wrong:
        assert re.search(rf"^nanogpt-proxy: error: .*\b{name}\b", done.stderr, re.M), name
    for secret in ("0" * 64, "far-too-short", "open-sesame"):
        assert secret not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_taken_port_is_a_sentence(environ: Environ) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = call(environ | {"PROXY_PORT": port}, "serve")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "PROXY_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_first_starts_at_the_same_time_agree(environ: Environ, tmp_path: Path) -> None:
    with StandIn() as nano, contextlib.ExitStack() as stack:
        proxies = [Serving(environ | {"UPSTREAM_URL": nano.base_url}) for _ in range(3)]
        for proxy in proxies:
            stack.callback(proxy.kill)
        for proxy in proxies:
            proxy.wait()
        token = call(environ, "token").stdout.strip()
        call(environ, "add-user", "alice@example.com", stdin=KEY)
        assert all("first words" in ask(proxy.base, token) for proxy in proxies)
        ends = [proxy.end() for proxy in proxies]
    assert [code for code, _ in ends] == [0, 0, 0]
    assert sum("made a new encryption key" in said for _, said in ends) == 1
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert {"encryption.key", "proxy.token", "nanogpt-proxy.db"} <= left
    assert not [name for name in left if name.startswith(".")], "drafts stayed behind"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_told_to_stop_is_no_failure(environ: Environ, number: int) -> None:
    with serving(environ) as proxy:
        code, said = proxy.end(number)
    assert code == 0
    assert "Traceback" not in said
