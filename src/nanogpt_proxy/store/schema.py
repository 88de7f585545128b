"""Which revision the tables have, and how they get to the one that this release needs."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, insert, inspect, text

from nanogpt_proxy.errors import StoreError
from nanogpt_proxy.store.database import WRITE
from nanogpt_proxy.store.tables import change_counter, metadata

HEAD = "0002"
"""The newest revision in `migrations/`. Written here, so that a start without a migration needs no
Alembic; a test compares the two."""


def current_revision(engine: Engine) -> str | None:
    """`None` for a database without tables of ours."""
    with engine.connect() as connection:
        return _revision(connection)


def upgrade(engine: Engine) -> None:
    """Runs the migrations that are due, all in one transaction. The caller holds the lock.

    Raises `StoreError` for a database that a newer release has migrated.
    """
    with engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
        found = _revision(connection)
        if found is None:
            create(connection)
        elif found != HEAD:
            migrate(connection, found)


def create(connection: Connection) -> None:
    """A new database, made at once: the first start need not wait for Alembic either.

    A test holds it against what the migrations make.
    """
    metadata.create_all(connection)
    connection.execute(insert(change_counter).values(id=1, seq=0))
    connection.execute(
        text(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def migrate(connection: Connection, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "nanogpt_proxy.store:migrations")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"the database was migrated by a newer release (it is at {found}, this one knows "
            f"{HEAD})",
            hint="run that release, or restore the backup that was made before it",
        )
    command.upgrade(config, "head")
