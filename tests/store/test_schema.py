"""The tables are the same, however they came about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select

from nanogpt_proxy.store import schema, sqlite
from nanogpt_proxy.store.tables import change_counter, metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "proxy.db"
    sqlite.prepare_files(path)
    engine = sqlite.make_engine(path)
    yield engine
    engine.dispose()


def described(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            pragma + name: sorted(
                map(tuple, connection.exec_driver_sql(f"PRAGMA {pragma}({name})").all())
            )
            for (name,) in tables.all()
            for pragma in ("table_info", "index_list")
        }


def test_the_constant_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", "nanogpt_proxy.store:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_migrations_make_the_tables_that_the_code_expects(engine: Engine) -> None:
    with engine.begin() as connection:
        schema.migrate(connection, None)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert schema.current_revision(engine) == schema.HEAD


def test_a_new_database_is_like_a_migrated_one(engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(engine)
    migrated = sqlite.make_engine(tmp_path / "migrated.db")
    with migrated.begin() as connection:
        schema.migrate(connection, None)
    assert described(engine) == described(migrated)
    for each in (engine, migrated):
        with each.connect() as connection:
            assert connection.execute(select(change_counter)).all() == [(1, 0)]
    migrated.dispose()


def test_an_upgrade_of_a_current_database_does_nothing(engine: Engine) -> None:
    schema.upgrade(engine)
    before = described(engine)
    schema.upgrade(engine)
    assert described(engine) == before


def test_an_upgrade_that_fails_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(schema, "insert", fail)
    with pytest.raises(RuntimeError):
        schema.upgrade(engine)
    assert described(engine) == {}
    assert schema.current_revision(engine) is None


def test_an_empty_version_table_counts_as_new(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    assert schema.current_revision(engine) is None


_OF_THE_FIRST_RELEASE = (
    "INSERT INTO accounts (id, email, disabled, added_at) VALUES (?, ?, 0, '2026-11-23')"
)


def test_the_previous_release_can_write_into_the_tables_of_this_one(engine: Engine) -> None:
    with engine.begin() as connection:
        schema.migrate(connection, None)
        for number in (1, 2):
            connection.exec_driver_sql(
                _OF_THE_FIRST_RELEASE,
                (str(number), f"{number}@example.com"),
            )


def test_accounts_of_the_first_release_are_kept(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "nanogpt_proxy.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(_OF_THE_FIRST_RELEASE, ("1", "a@b"))
    schema.upgrade(engine)
    assert schema.current_revision(engine) == schema.HEAD
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT email, bound_id, key_rejected_at FROM accounts")
        assert rows.all() == [("a@b", None, None)]
