"""Alembic runs this file; the connection comes from `store.schema`, inside a transaction."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # SQLite can, although Alembic assumes that it cannot
)
with context.begin_transaction():
    context.run_migrations()
