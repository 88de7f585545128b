"""Commands that change one user. A running proxy follows within a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from nanogpt_proxy.cli.output import say
from nanogpt_proxy.cli.secret_input import read_key
from nanogpt_proxy.cli.session import with_accounts
from nanogpt_proxy.errors import AccountError, AccountExists, NoSuchAccount
from nanogpt_proxy.models import StoredAccount, canonical_email


@click.command("add-user")
@click.argument("email")
@click.argument("key", required=False)
def add_user(email: str, key: str | None) -> None:
    """Add a user by the e-mail they have in Open WebUI.

    The key is asked for without showing it, or read from stdin when that is no terminal.
    """
    email = canonical_email(email)
    secret = read_key(key, email)
    try:
        account = with_accounts(lambda accounts: accounts.add(email, secret))
    except AccountExists as failure:
        mend = f"`nanogpt-proxy set-key {email}` changes their key"
        raise AccountExists(failure.message, hint=mend) from None
    say(f"added {email} ({_shown(account)})")


@click.command("set-key")
@click.argument("email")
@click.argument("key", required=False)
def set_key(email: str, key: str | None) -> None:
    """Change the API key of a user.

    The key is asked for without showing it, or read from stdin when that is no terminal.
    """
    email = canonical_email(email)
    secret = read_key(key, email)
    with _strangers_explained():
        account = with_accounts(lambda accounts: accounts.set_key(email, secret))
    say(f"changed the key of {email} ({_shown(account)})")


@click.command("disable-user")
@click.argument("email")
def disable_user(email: str) -> None:
    """Refuse a user's requests, and keep their key."""
    with _strangers_explained():
        account = with_accounts(lambda accounts: accounts.disable(email))
    say(f"disabled {account.email}")


@click.command("enable-user")
@click.argument("email")
def enable_user(email: str) -> None:
    """Let a disabled user in again."""
    with _strangers_explained():
        account = with_accounts(lambda accounts: accounts.enable(email))
    say(f"enabled {account.email}")


@click.command("del-user")
@click.argument("email")
@click.option("--yes", is_flag=True, help="Do not ask.")
def del_user(email: str, yes: bool) -> None:
    """Delete a user and their key."""
    email = canonical_email(email)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask on: --yes deletes without asking")
        if not click.confirm(f"Delete {email} and their key?", err=True):
            raise AccountError("nothing was deleted")
    with _strangers_explained():
        with_accounts(lambda accounts: accounts.delete(email))
    say(f"deleted {email}")


def _shown(account: StoredAccount) -> str:
    return f"key …{account.key_hint}"


@contextmanager
def _strangers_explained() -> Iterator[None]:
    try:
        yield
    except NoSuchAccount as failure:
        mend = "`nanogpt-proxy list` shows all users"
        raise NoSuchAccount(failure.message, hint=mend) from None
