"""The real command, running in a process of its own."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.functional.wire import Wire

COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
TOKEN = "npt-functional-0123456789abcdef"
MASTER = "5eed0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab"
_START = 30.0  # seconds on a machine that is busy with other things


@dataclass(frozen=True)
class User:
    """Somebody with an account, or without one."""

    email: str
    key: str

    @property
    def digest(self) -> str:
        """What the stand-in tells of whose key it got."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def identity(self) -> dict[str, str]:
        """What Open WebUI adds to a request to say who is asking."""
        return {"X-OpenWebUI-User-Email": self.email}

    def headers(self, *more: tuple[str, str], kind: str | None = "application/json") -> list[Any]:
        """What Open WebUI sends for this user; `kind` is the content type."""
        pairs = [("Authorization", f"Bearer {TOKEN}"), ("X-OpenWebUI-User-Email", self.email)]
        if kind is not None:
            pairs.append(("Content-Type", kind))
        return [*pairs, *more]


ALICE = User("alice@example.com", "sk-nano-a11ce000-0000-4000-8000-000000000001")
BOB = User("bob@example.com", "sk-nano-b0b00000-0000-4000-8000-000000000002")
DISABLED = User("disabled@example.com", "sk-nano-d15ab1ed-0000-4000-8000-000000000003")
KEYLESS = User("keyless@example.com", "")
STRANGER = User("stranger@example.com", "")
REVOKED = User("revoked@example.com", "sk-nano-dead0000-0000-4000-8000-000000000004")
"""NanoGPT refuses this one's key."""
PENNILESS = User("penniless@example.com", "sk-nano-00000402-0000-4000-8000-000000000005")
"""NanoGPT answers 402 to this one."""
ENROLLED = (ALICE, BOB, DISABLED, KEYLESS, REVOKED, PENNILESS)


class Proxy:
    """A `serve` that was started for a test; what it says is kept until its end."""

    def __init__(
        self, environ: Mapping[str, str], directory: Path, *, prefix: Sequence[str] = ()
    ) -> None:
        """`prefix` is a command that runs ours."""
        self.environ = dict(environ)
        self._directory = directory
        self._said = ""
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [*prefix, COMMAND, "serve"],
            env=self.environ,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then end it
        )
        self._readers = [
            threading.Thread(target=self._listen, args=(pipe,), daemon=True)
            for pipe in (self._process.stdout, self._process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        self.host, self.port = "127.0.0.1", 0

    def _listen(self, pipe: IO[str]) -> None:
        for text in pipe:
            with self._changed:
                self._said += text
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_listening(self) -> None:
        found = self.wait_said(r"listening host=(\S+) port=(\d+)", _START)
        self.port = int(found[2])

    # What it is asked.

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What Open WebUI and SDKs are told."""
        return f"{self.origin}/v1"

    @property
    def token(self) -> str:
        """The API key of the connection."""
        return TOKEN

    def connect(self, *, timeout: float = 10, receive_buffer: int | None = None) -> Wire:
        return Wire(self.host, self.port, timeout=timeout, receive_buffer=receive_buffer)

    def command(self, *args: str, stdin: str = "") -> str:
        """Runs another command on the same data; what it printed."""
        done = subprocess.run(
            [COMMAND, *args],
            env=self.environ,
            cwd=self._directory,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_START,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # What it says and does.

    @property
    def said(self) -> str:
        """Both of its output streams, up to now."""
        with self._changed:
            return self._said

    def wait_said(self, pattern: str, seconds: float = 10) -> re.Match[str]:
        """Until it has said something that matches."""
        looking, until = re.compile(pattern), time.monotonic() + seconds
        with self._changed:
            while (found := looking.search(self._said)) is None:
                left = until - time.monotonic()
                assert left > 0, f"{pattern!r} was not said, but: {self._said}"
                assert self._process.poll() is None or self._listens(), self._said
                self._changed.wait(min(left, 0.5))
        return found

    def _listens(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_exit(self, seconds: float = 20) -> int:
        """Its exit code, once it has ended and all it said is here."""
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def stop(self) -> None:
        """Ends it at once, if it still runs."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self.wait_exit()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait_exit()
            raise

    def check_said(self, secrets: Iterable[str]) -> None:
        """Nothing that it said may hold a secret, or tell of a fault of its own."""
        said = self.said
        for secret in secrets:
            assert secret not in said, "a secret was logged"
        assert "Traceback" not in said, said
        assert "never awaited" not in said, said
        assert "never retrieved" not in said, said

    # What it takes.

    def memory(self) -> int:
        """Bytes of memory that are resident now."""
        return self._status("VmRSS")

    def memory_peak(self) -> int:
        """The most bytes of memory that were resident since `forget_memory_peak`."""
        return self._status("VmHWM")

    def forget_memory_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        (kilobytes,) = re.findall(rf"^{name}:\s+(\d+) kB$", text, re.M)
        return int(kilobytes) * 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def unread_of(self, line: Wire) -> int:
        """Bytes of this connection that the kernel holds for the proxy to read."""
        theirs = line.sock.getsockname()[1]
        table = Path("/proc/net/tcp").read_text()
        local, remote = f"0100007F:{self.port:04X}", f"0100007F:{theirs:04X}"
        (queue,) = re.findall(rf"{local} {remote} \w\w \w+:(\w+)", table)
        return int(queue, 16)

    def clients(self) -> int:
        """Connections that are established with it."""
        table = Path("/proc/net/tcp").read_text()
        return len(re.findall(rf" 0100007F:{self.port:04X} \w+:\w+ 01 ", table))
