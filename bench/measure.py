"""The course of a run: four parts, each starts what it needs and ends it."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import callers, load, machine, nginx, report
from bench.processes import BenchmarkFailed, Running, free_port, start, wait_until_listening
from bench.proxy import DEFAULT_ADD_USER, DEFAULT_SERVE, Proxy, prepare
from bench.report import DIRECT, NGINX, PROXY, Samples

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_CALLERS = 16
_EVENTS_PER_SECOND = 50
PARTS = ("start", "requests", "tls", "streams")


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: int
    stream_seconds: int
    streams: int = 300


FULL = Plan(rounds=7, seconds=3, stream_seconds=6)
QUICK = Plan(rounds=3, seconds=1, stream_seconds=3)


@dataclass
class Bench:
    """What all parts share."""

    plan: Plan
    proxy: Proxy
    directory: Path
    proxy_core: int
    load_core: int
    people: list[callers.Caller] = field(default_factory=lambda: callers.invent(_CALLERS))
    samples: Samples = field(default_factory=Samples)

    def directory_for(self, part: str) -> Path:
        made = self.directory / part
        made.mkdir(mode=0o755)
        return made

    def enrolled(self, part: str) -> Path:
        """A data directory that knows all people; they are added once and then copied."""
        original = self.directory / "data"
        if not original.exists():
            self.proxy.enrol(prepare(original), self.people)
        return Path(shutil.copytree(original, self.directory / f"{part}-data"))

    def aim(self, who: str, url: str) -> load.Aim:
        token = None if who == DIRECT else self.proxy.token
        path = self.directory / f"{who}-callers.txt"
        return load.Aim(who, url, callers.write(path, self.people, token=token))


@contextmanager
def stage(
    bench: Bench, part: str, upstream: tuple[Running, int], secured: nginx.Certificate | None = None
) -> Iterator[dict[str, tuple[Running | None, load.Aim]]]:
    """Both proxies before one upstream; the upstream itself too, when it speaks plain HTTP."""
    directory, scheme = bench.directory / part, "https" if secured else "http"
    address = f"{scheme}://127.0.0.1:{upstream[1]}/api/v1"
    with ExitStack() as stack:
        stack.callback(upstream[0].stop)
        peer, peer_port = nginx.start_peer(
            directory,
            bench.people,
            bench.proxy.token,
            upstream[1],
            core=bench.proxy_core,
            certificate=secured,
        )
        stack.callback(peer.stop)
        proxy, port, _ = bench.proxy.start(
            bench.enrolled(part),
            address,
            core=bench.proxy_core,
            authority=secured.authority if secured else None,
        )
        stack.callback(proxy.stop)
        under_test: dict[str, tuple[Running | None, load.Aim]] = {
            NGINX: (peer, bench.aim(NGINX, f"http://127.0.0.1:{peer_port}/v1")),
            PROXY: (proxy, bench.aim(PROXY, f"http://127.0.0.1:{port}/v1")),
        }
        if not secured:
            under_test[DIRECT] = (None, bench.aim(DIRECT, address))
        yield under_test


def measure_start(bench: Bench) -> None:
    """From the start of the process until it is ready: with users, and the very first time."""
    directory = bench.directory_for("start")
    upstream, port = nginx.start_upstream(directory, bench.people, core=bench.load_core)
    address = f"http://127.0.0.1:{port}/api/v1"
    try:
        kept = bench.enrolled("start")
        for number in range(bench.plan.rounds):
            new = prepare(bench.directory / f"first-{number}")
            for measure, data_dir in (("first ready", new), ("ready", kept)):
                running, _, ms = bench.proxy.start(data_dir, address, core=bench.proxy_core)
                running.stop()
                bench.samples.add(measure, PROXY, ms)
    finally:
        upstream.stop()


def measure_requests(bench: Bench) -> None:
    directory = bench.directory_for("requests")
    upstream = nginx.start_upstream(directory, bench.people, core=bench.load_core)
    with stage(bench, "requests", upstream) as under_test:
        time.sleep(1)  # what runs after the start of a process is not its idle state
        for who, (running, _) in under_test.items():
            if running:
                bench.samples.add("idle rss", who, running.rss_mb())
                bench.samples.add("idle pss", who, running.pss_mb())
        _rates(bench, under_test, "")


def measure_tls(bench: Bench) -> None:
    directory = bench.directory_for("tls")
    secured = nginx.make_certificate(directory)
    upstream = nginx.start_upstream(
        directory, bench.people, core=bench.load_core, certificate=secured
    )
    with stage(bench, "tls", upstream, secured) as under_test:
        _rates(bench, under_test, "tls ")


def measure_streams(bench: Bench) -> None:
    plan, directory = bench.plan, bench.directory_for("streams")
    events, port = plan.stream_seconds * _EVENTS_PER_SECOND, free_port()
    command = [sys.executable, str(Path(__file__).with_name("stream_upstream.py"))]
    command += [str(port), str(events), str(_EVENTS_PER_SECOND)]
    upstream = start("upstream", command, core=bench.load_core, directory=directory)
    with stage(bench, "streams", (upstream, port)) as under_test:
        wait_until_listening(upstream, port)
        for number in range(plan.rounds):
            for who, (running, aim) in _in_turn(under_test, number):
                found = load.streams(
                    aim,
                    running,
                    count=plan.streams,
                    events=events,
                    seconds=plan.stream_seconds,
                    core=bench.load_core,
                )
                bench.samples.add("stream p50", who, found.p50_us)
                bench.samples.add("stream p99", who, found.p99_us)
                if running:
                    bench.samples.add("stream cpu", who, found.cpu_seconds)
                    bench.samples.add("stream rss", who, found.rss_mb)
                    bench.samples.add("stream pss", who, found.pss_mb)


def _rates(
    bench: Bench, under_test: dict[str, tuple[Running | None, load.Aim]], prefix: str
) -> None:
    for running, aim in under_test.values():  # to warm up
        load.requests(aim, running, connections=64, seconds=1, core=bench.load_core)
    for number in range(bench.plan.rounds):
        for connections in (1, 64):
            for who, (running, aim) in _in_turn(under_test, number):
                found = load.requests(
                    aim,
                    running,
                    connections=connections,
                    seconds=bench.plan.seconds,
                    core=bench.load_core,
                )
                bench.samples.add(f"{prefix}rate {connections}", who, found.per_second)
                bench.samples.add(f"{prefix}p50 {connections}", who, found.p50_us)
                bench.samples.add(f"{prefix}p99 {connections}", who, found.p99_us)
                if running:
                    bench.samples.add(f"{prefix}cpu {connections}", who, found.cpu_us)


def _in_turn(
    under_test: dict[str, tuple[Running | None, load.Aim]], number: int
) -> list[tuple[str, tuple[Running | None, load.Aim]]]:
    """Another one goes first in each round, so that none always meets the quiet moments."""
    order = list(under_test.items())
    turn = number % len(order)
    return order[turn:] + order[:turn]


def run(plan: Plan, proxy: Proxy, parts: list[str]) -> tuple[str, bool]:
    """The report, and whether all targets are met."""
    about = machine.describe()
    if machine.is_busy():
        print("bench: this machine is busy; do not trust the figures", file=sys.stderr)
    proxy_core, load_core = machine.two_cores()
    measures = dict(
        zip(PARTS, (measure_start, measure_requests, measure_tls, measure_streams), strict=True)
    )
    with tempfile.TemporaryDirectory(prefix="nanogpt-proxy-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the workers of nginx do not stay root
        bench = Bench(plan, proxy, directory, proxy_core, load_core)
        for part in parts:
            print(f"bench: {part} …", file=sys.stderr, flush=True)
            measures[part](bench)
    text, met = report.table(bench.samples)
    events = plan.streams * plan.stream_seconds * _EVENTS_PER_SECOND
    note = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {'; '.join(about)}. Medians of {plan.rounds} "
        f"rounds; requests: {plan.seconds} s a round; streams: {plan.streams} at once, "
        f"{_EVENTS_PER_SECOND} events a second each, {events:,} events a round."
    )
    return f"{note}\n\n{text}", met


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, less exact")
    parser.add_argument("--write", action="store_true", help=f"put the table into {_PAGE.name}")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--serve", default=DEFAULT_SERVE, help="the command line to measure")
    parser.add_argument(
        "--add-user",
        default=DEFAULT_ADD_USER,
        help="the command line that adds {email} with the key of its standard input; may be empty",
    )
    chosen = parser.parse_args(arguments)
    # A signal must not leave servers behind: as an exception it runs every clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        machine.check_programs()
        proxy = Proxy(chosen.serve, chosen.add_user, callers.invent_token())
        text, met = run(QUICK if chosen.quick else FULL, proxy, chosen.only)
    except BenchmarkFailed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 2
    print(text)
    if chosen.write:
        report.put_into(_PAGE, text.strip())
    return 0 if met else 1
