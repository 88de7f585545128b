"""Medians of the samples, the targets, and the Markdown table."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

DIRECT, NGINX, PROXY = "direct", "nginx", "proxy"

_START, _END = "<!-- bench: start -->", "<!-- bench: end -->"
_HEADER = "| measure | no proxy | nginx | nanogpt-proxy | to nginx | target | |\n" + (
    "|---|--:|--:|--:|--:|---|---|\n"
)


@dataclass
class Samples:
    """Every value seen, by measure and by who was measured."""

    _values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, measure: str, who: str, value: float) -> None:
        self._values[measure, who].append(value)

    def median(self, measure: str, who: str) -> float | None:
        values = self._values.get((measure, who))
        return statistics.median(values) if values else None

    def added(self, measure: str, who: str) -> float | None:
        """How much more than without a proxy."""
        mine, direct = self.median(measure, who), self.median(measure, DIRECT)
        if who == DIRECT or mine is None or direct is None:
            return None
        return mine - direct


@dataclass(frozen=True)
class Target:
    text: str
    of_ratio: bool
    holds: Callable[[float], bool]


def _at_least(ratio: float) -> Target:
    return Target(f"≥ {ratio:.2f} x nginx", True, lambda value: value >= ratio)


def _at_most(ratio: float) -> Target:
    return Target(f"≤ {ratio:g} x nginx", True, lambda value: value <= ratio)


def _below(limit: float, unit: str) -> Target:
    return Target(f"≤ {limit:g} {unit}", False, lambda value: value <= limit)


@dataclass(frozen=True)
class Row:
    title: str
    measure: str
    form: str = "{:,.0f}"
    added: bool = False
    target: Target | None = None

    def value(self, samples: Samples, who: str) -> float | None:
        return (samples.added if self.added else samples.median)(self.measure, who)


ROWS = (
    Row("requests/s, c=64", "rate 64", target=_at_least(0.40)),
    Row("requests/s, c=1", "rate 1"),
    Row("p50 at c=1, µs", "p50 1"),
    Row("p99 at c=1, µs", "p99 1"),
    Row("added p50 at c=1, µs", "p50 1", added=True, target=_at_most(3)),
    Row("added p99 at c=1, µs", "p99 1", added=True),
    Row("p50 at c=64, µs", "p50 64"),
    Row("p99 at c=64, µs", "p99 64"),
    Row("CPU for one request, c=64, µs", "cpu 64", form="{:.1f}"),
    Row("TLS upstream: requests/s, c=64", "tls rate 64"),
    Row("TLS upstream: CPU for one request, c=64, µs", "tls cpu 64", form="{:.1f}"),
    Row("TLS upstream: p50 at c=1, µs", "tls p50 1"),
    Row("TLS upstream: p99 at c=1, µs", "tls p99 1"),
    Row("streams: CPU, s", "stream cpu", form="{:.2f}", target=_at_most(1.6)),
    Row("streams: chunk lag p50, µs", "stream p50"),
    Row("streams: chunk lag p99, µs", "stream p99"),
    Row("idle memory (RSS), MB", "idle rss", form="{:.1f}", target=_below(80, "MB")),
    Row("idle memory (PSS), MB", "idle pss", form="{:.1f}"),
    Row("memory with the streams (RSS), MB", "stream rss", form="{:.1f}"),
    Row("memory with the streams (PSS), MB", "stream pss", form="{:.1f}"),
    Row("start until ready, ms", "ready", target=_below(1500, "ms")),
    Row("very first start until ready, ms", "first ready"),
)


def table(samples: Samples) -> tuple[str, bool]:
    """The rows that have values, and whether every target among them is met."""
    lines, met = [], True
    for row in ROWS:
        values = [row.value(samples, who) for who in (DIRECT, NGINX, PROXY)]
        if values[1] is None and values[2] is None:
            continue
        verdict = _verdict(row, values[1], values[2])
        met &= verdict != "FAIL"
        cells = [row.title, *(_cell(row, value) for value in values)]
        ratio = _ratio(values[1], values[2])
        cells += ["" if ratio is None else f"{ratio:.2f}", row.target.text if row.target else ""]
        lines.append(f"| {' | '.join([*cells, verdict])} |\n")
    return _HEADER + "".join(lines), met


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the two marks of the page."""
    old = page.read_text()
    marked = re.compile(f"{_START}.*{_END}", re.DOTALL)
    if not marked.search(old):
        raise ValueError(f"{page} has no {_START} … {_END}")
    page.write_text(marked.sub(lambda _: f"{_START}\n{text}\n{_END}", old))


def _verdict(row: Row, nginx: float | None, proxy: float | None) -> str:
    value = _ratio(nginx, proxy) if row.target and row.target.of_ratio else proxy
    if row.target is None or value is None:
        return ""
    return "PASS" if row.target.holds(value) else "FAIL"


def _ratio(nginx: float | None, proxy: float | None) -> float | None:
    return proxy / nginx if nginx and proxy is not None and nginx > 0 else None


def _cell(row: Row, value: float | None) -> str:
    return "-" if value is None else row.form.format(value)
