"""Times keep their meaning in a database that knows no time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy.dialects import sqlite

from nanogpt_proxy.store.tables import UtcDateTime

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_times_are_bound_in_utc() -> None:
    local = NOON.astimezone(timezone(timedelta(hours=9)))
    bound = UtcDateTime().process_bind_param(local, sqlite.dialect())
    assert bound is not None
    assert bound.tzinfo is UTC
    assert UtcDateTime().process_bind_param(None, sqlite.dialect()) is None


def test_a_time_without_zone_is_read_as_utc_and_one_with_it_as_it_is() -> None:
    column = UtcDateTime()
    assert column.process_result_value(NOON.replace(tzinfo=None), sqlite.dialect()) == NOON
    assert column.process_result_value(NOON, sqlite.dialect()) == NOON
    assert column.process_result_value(None, sqlite.dialect()) is None
