"""How many connections fit into the limit of open files."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace

import pytest

from nanogpt_proxy.descriptors import connections_that_fit
from nanogpt_proxy.settings import Settings

SETTINGS = replace(Settings(), max_connections=1000, upstream_connections=400)
SetLimit = Callable[..., list[tuple[int, int]]]
PLENTY = 100_000


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> SetLimit:
    """Sets what the kernel says, and returns what it is asked for."""

    def set_limit(
        soft: int, hard: int, error: type[Exception] | None = None
    ) -> list[tuple[int, int]]:
        asked = []

        def setrlimit(_: int, limits: tuple[int, int]) -> None:
            asked.append(limits)
            if error is not None:
                raise error("no")

        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", setrlimit)
        return asked

    return set_limit


def test_the_soft_limit_is_raised_to_the_hard_one(
    limit: SetLimit, caplog: pytest.LogCaptureFixture
) -> None:
    asked = limit(1024, PLENTY)
    assert connections_that_fit(SETTINGS) == 1000
    assert asked == [(PLENTY, PLENTY)]
    assert not caplog.records


@pytest.mark.parametrize("hard", [PLENTY, resource.RLIM_INFINITY])
def test_what_is_at_the_hard_limit_is_left_alone(limit: SetLimit, hard: int) -> None:
    asked = limit(hard, hard)
    assert connections_that_fit(SETTINGS) == 1000
    assert asked == []


def test_no_limit_is_enough(limit: SetLimit) -> None:
    limit(1024, resource.RLIM_INFINITY)
    assert connections_that_fit(SETTINGS) == 1000


@pytest.mark.parametrize("error", [None, ValueError, OSError])
def test_a_short_limit_is_said_and_fewer_come_in(
    limit: SetLimit, error: type[Exception] | None, caplog: pytest.LogCaptureFixture
) -> None:
    limit(764, 764 if error is None else PLENTY, error)
    fits = connections_that_fit(SETTINGS)
    assert 0 < fits < 764
    assert fits == 500, "clients and NanoGPT share what there is"
    (record,) = caplog.records
    assert "ulimit -n" in record.getMessage()


def test_one_connection_always_fits(limit: SetLimit) -> None:
    limit(10, 10)
    assert connections_that_fit(SETTINGS) == 1
