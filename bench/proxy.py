"""The proxy under test: by default the one of this checkout, by option any command line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.callers import Caller
from bench.processes import BenchmarkFailed, Running, free_port, start, wait_until_ready

_COMMAND = Path(sys.executable).with_name("nanogpt-proxy")
DEFAULT_SERVE = shlex.join([str(_COMMAND), "serve"])
DEFAULT_ADD_USER = shlex.join([str(_COMMAND), "add-user"]) + " {email}"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Proxy:
    """How to run it: settings by environment; `add_user` gets the key on its standard input."""

    serve: str
    add_user: str
    token: str

    def enrol(self, data_dir: Path, callers: list[Caller]) -> None:
        for caller in callers if self.add_user else ():
            command = [word.format(email=caller.email) for word in shlex.split(self.add_user)]
            done = subprocess.run(
                command,
                input=caller.key + "\n",
                env=self._environ(data_dir),
                cwd=data_dir,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode:
                raise BenchmarkFailed(f"{shlex.join(command)}: {done.stderr.strip()}")

    def start(
        self, data_dir: Path, upstream: str, *, core: int, authority: Path | None = None
    ) -> tuple[Running, int, float]:
        """The process, its port, and the milliseconds from its start until it was ready."""
        port = free_port()
        environ = self._environ(data_dir)
        environ |= {"PROXY_PORT": str(port), "UPSTREAM_URL": upstream}
        if authority:
            environ["UPSTREAM_CA_FILE"] = str(authority)
        began = time.perf_counter()
        running = start(
            "proxy", shlex.split(self.serve), core=core, directory=data_dir, environ=environ
        )
        try:
            wait_until_ready(running, port)
        except BaseException:
            running.stop()
            raise
        return running, port, (time.perf_counter() - began) * 1000

    def _environ(self, data_dir: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return kept | {
            "DATA_DIR": str(data_dir),
            "PROXY_HOST": "127.0.0.1",
            "PROXY_TOKEN": self.token,
        }


def prepare(data_dir: Path) -> Path:
    """A private directory with an `.env` of its own: that of the checkout must not join in."""
    data_dir.mkdir(mode=0o700)
    (data_dir / ".env").touch(mode=0o600)
    return data_dir
