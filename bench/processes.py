"""Start, pin, watch and end the processes of a run."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ENDING_SECONDS = 10.0
_READY_SECONDS = 30.0


class BenchmarkFailed(Exception):
    """A measurement that cannot be trusted or taken; the sentence says why."""


@dataclass(frozen=True)
class Running:
    """A process that we started, with everything that it started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        return sum(_cpu_ticks(pid) for pid in self._tree()) / _TICKS

    def rss_mb(self) -> float:
        return self._memory("Rss")

    def pss_mb(self) -> float:
        """Like `rss_mb`, but pages that several processes share count once."""
        return self._memory("Pss")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _memory(self, field: str) -> float:
        return sum(_smaps_kb(pid, field) for pid in self._tree()) / 1024

    def _tree(self) -> list[int]:
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found


def start(
    name: str,
    command: Sequence[str],
    *,
    core: int,
    directory: Path,
    environ: Mapping[str, str] | None = None,
) -> Running:
    """Start `command` on `core`; what it prints goes to a file in `directory`."""
    log = directory / f"{name}.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=directory,
            env=None if environ is None else dict(environ),
            preexec_fn=pin_to(core),
        )
    return Running(name, process, log)


def pin_to(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(running: Running, port: int) -> None:
    """Return as soon as `/health/ready` of the process answers 200."""
    _wait(running, lambda: _is_ready(port))


def wait_until_listening(running: Running, port: int) -> None:
    _wait(running, lambda: _accepts(port))


def last_lines(log: Path, count: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _wait(running: Running, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not reached():
        if running.process.poll() is not None:
            raise BenchmarkFailed(f"{running.name} ended at once:\n{last_lines(running.log)}")
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"{running.name} is not ready:\n{last_lines(running.log)}")
        time.sleep(0.002)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _cpu_ticks(pid: int) -> int:
    # The name of the command may hold blanks and parentheses; the figures follow the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _smaps_kb(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0
