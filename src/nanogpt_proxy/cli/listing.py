"""`list`: all users, for people or for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from nanogpt_proxy.cli.output import hint, say, table
from nanogpt_proxy.cli.session import with_accounts
from nanogpt_proxy.models import StoredAccount

_TITLES = ("E-MAIL", "STATE", "KEY", "ADDED", "LAST USED")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_users(as_json: bool) -> None:
    """Show all users; of their keys the last four characters."""
    accounts = with_accounts(lambda accounts: accounts.list())
    if as_json:
        say(_json(accounts))
    elif accounts:
        say(_table(accounts))
    else:
        hint("there are no users yet: `nanogpt-proxy add-user EMAIL` adds one")


def _json(accounts: Sequence[StoredAccount]) -> str:
    import json

    rows = [
        {
            "email": account.email,
            "state": account.state.value,
            "key_hint": account.key_hint,
            "added_at": _instant(account.added_at),
            "last_used_at": _instant(account.last_used_at),
        }
        for account in accounts
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _table(accounts: Sequence[StoredAccount]) -> str:
    rows = [
        (
            account.email,
            account.state.value,
            f"…{account.key_hint}" if account.key_hint else "-",
            _instant(account.added_at) or "-",
            _instant(account.last_used_at) or "never",
        )
        for account in accounts
    ]
    return table(_TITLES, rows)


def _instant(time: datetime | None) -> str | None:
    if time is None:
        return None
    return time.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
