"""`migrate` says whether there was anything to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanogpt_proxy.store import schema

Cli = Callable[..., Any]


def test_it_says_what_it_did(cli: Cli) -> None:
    assert cli("migrate").out == f"the database is now at revision {schema.HEAD}\n"
    assert cli("migrate").out == f"the database is at revision {schema.HEAD} already\n"


def test_a_database_of_a_newer_release_is_refused(cli: Cli, data: Path) -> None:
    cli("migrate")
    connection = sqlite3.connect(data / "nanogpt-proxy.db", isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    done = cli("migrate")
    assert done.code == 1
    assert "newer release" in done.err
    assert "nanogpt-proxy: hint: " in done.err
