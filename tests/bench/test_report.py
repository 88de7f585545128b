from __future__ import annotations

from pathlib import Path

import pytest

from bench.report import DIRECT, NGINX, PROXY, Samples, put_into, table


def samples(**values: tuple[float, float, float]) -> Samples:
    """Of each measure, what was seen without a proxy, by nginx and by the proxy."""
    made = Samples()
    for measure, seen in values.items():
        for who, value in zip((DIRECT, NGINX, PROXY), seen, strict=True):
            made.add(measure.replace("_", " "), who, value)
    return made


def test_a_median_hides_one_wild_round() -> None:
    made = Samples()
    for value in (10.0, 11.0, 900.0):
        made.add("ready", PROXY, value)
    assert made.median("ready", PROXY) == 11


def test_added_time_is_what_the_proxy_adds_to_the_way_without_it() -> None:
    made = samples(p50_1=(20, 50, 80))
    assert made.added("p50 1", NGINX) == 30
    assert made.added("p50 1", PROXY) == 60
    assert made.added("p50 1", DIRECT) is None


@pytest.mark.parametrize(
    ("measure", "seen", "met"),
    [
        ("rate_64", (9000, 1000, 400), True),
        ("rate_64", (9000, 1000, 399), False),
        ("p50_1", (20, 50, 110), True),
        ("p50_1", (20, 50, 111), False),
        ("stream_cpu", (0, 1.0, 1.6), True),
        ("stream_cpu", (0, 1.0, 1.61), False),
        ("idle_rss", (0, 10, 80), True),
        ("idle_rss", (0, 10, 80.1), False),
    ],
)
def test_a_missed_target_fails_the_run(
    measure: str, seen: tuple[float, float, float], met: bool
) -> None:
    text, verdict = table(samples(**{measure: seen}))
    assert verdict is met
    assert ("PASS" if met else "FAIL") in text


def test_what_was_not_measured_is_not_in_the_table() -> None:
    text, met = table(samples(rate_64=(3, 2, 2)))
    assert text.count("\n") == 3
    assert met


def test_a_new_table_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: start -->\nold\n<!-- bench: end -->\nafter\n")
    put_into(page, r"a \1 b")
    put_into(page, r"new \1")
    text = "before\n<!-- bench: start -->\nnew \\1\n<!-- bench: end -->\nafter\n"
    assert page.read_text() == text


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no"):
        put_into(page, "x")
