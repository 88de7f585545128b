"""What the benchmark needs of this machine, and how the report names it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from bench.processes import BenchmarkFailed

_PROGRAMS = ("nginx", "wrk", "openssl")
_BUSY = 0.5


def check_programs() -> None:
    """`make bench` installs them, where it may; whoever comes without make reads what to run."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # where nginx is; not on every user's path
    missing = " ".join(program for program in _PROGRAMS if not shutil.which(program))
    if missing:
        raise BenchmarkFailed(f"missing: {missing}; run scripts/needs {missing}")


def two_cores() -> tuple[int, int]:
    """One for the proxy under test, one for the upstream and the load."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchmarkFailed("two cores are needed: one for the proxy, one for the load")
    return cores[0], cores[1]


def describe() -> list[str]:
    return [
        f"{_cpu()}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        _first_match(["nginx", "-v"], r"nginx/\S+"),
        f"load {os.getloadavg()[0]:.1f} at the start",
    ]


def is_busy() -> bool:
    return os.getloadavg()[0] > _BUSY


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _first_match(command: list[str], pattern: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[0] if found else command[0]
