"""Run a load generator and read what it found; a run with any failed request counts for nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchmarkFailed, Running, pin_to

_ROOT = Path(__file__).resolve().parent.parent
_SCRIPT = Path(__file__).with_name("chat.lua")
_SLACK_SECONDS = 60


@dataclass(frozen=True)
class Aim:
    """Where a load goes: a base URL and the file of callers that it accepts."""

    name: str
    url: str
    callers: Path


@dataclass(frozen=True)
class Rate:
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """What one request costs the proxy that carries it."""


@dataclass(frozen=True)
class Streamed:
    cpu_seconds: float
    p50_us: float
    p99_us: float
    rss_mb: float
    pss_mb: float


def requests(aim: Aim, proxy: Running | None, *, connections: int, seconds: int, core: int) -> Rate:
    """As many chat completions as go over `connections` keep-alive connections."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(_SCRIPT), f"{aim.url}/chat/completions", "--", str(aim.callers)]
    before = proxy.cpu_seconds() if proxy else 0.0
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + _SLACK_SECONDS,
        check=False,
        preexec_fn=pin_to(core),
    )
    found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout)}
    if done.returncode or not found.get("requests"):
        raise BenchmarkFailed(f"wrk on {aim.name}: {done.stdout}{done.stderr}")
    if found["failed"]:
        raise BenchmarkFailed(f"{aim.name}: {found['failed']} requests failed:\n{done.stdout}")
    spent = proxy.cpu_seconds() - before if proxy else 0.0
    per_second = found["requests"] / (found["duration_us"] / 1e6)
    return Rate(per_second, found["p50_us"], found["p99_us"], spent * 1e6 / found["requests"])


def streams(
    aim: Aim, proxy: Running | None, *, count: int, events: int, seconds: float, core: int
) -> Streamed:
    """`count` paced event streams at once, and what they cost the proxy that carries them."""
    command = [sys.executable, "-m", "bench.stream_load"]
    command += [aim.url, str(aim.callers), str(count), str(events)]
    before = proxy.cpu_seconds() if proxy else 0.0
    load = subprocess.Popen(
        command,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=pin_to(core),
    )
    try:
        rss, pss = _memory_in_the_middle(load, proxy, seconds)
        output, errors = load.communicate(timeout=seconds + _SLACK_SECONDS)
    except subprocess.TimeoutExpired as late:
        raise BenchmarkFailed(f"streams on {aim.name} do not end") from late
    finally:
        load.kill()
        load.wait()
    if load.returncode:
        raise BenchmarkFailed(f"streams on {aim.name}: {errors}")
    found = json.loads(output)
    if found["short"] or found["misordered"]:
        raise BenchmarkFailed(f"{aim.name}: streams short or out of order: {found}")
    spent = proxy.cpu_seconds() - before if proxy else 0.0
    return Streamed(spent, found["p50_us"], found["p99_us"], rss, pss)


def _memory_in_the_middle(
    load: subprocess.Popen[str], proxy: Running | None, seconds: float
) -> tuple[float, float]:
    try:
        load.wait(seconds * 0.6)
    except subprocess.TimeoutExpired:
        if proxy:
            return proxy.rss_mb(), proxy.pss_mb()
    return 0.0, 0.0
