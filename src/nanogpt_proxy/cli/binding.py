"""`unbind`: lets another user of Open WebUI have an account."""

from __future__ import annotations

import click

from nanogpt_proxy.cli.output import say
from nanogpt_proxy.cli.session import with_accounts
from nanogpt_proxy.errors import NoSuchAccount


@click.command("unbind")
@click.argument("email", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts at once.")
def unbind(email: str | None, everybody: bool) -> None:
    """Let the next Open WebUI user with this e-mail have the account.

    Needed when somebody was given a new user there, or Open WebUI a new database.
    """
    if everybody == (email is not None):
        raise click.UsageError("name one EMAIL, or say --all")
    if email is None:
        count = with_accounts(lambda accounts: accounts.unbind_all())
        say(f"unbound {count} account{'' if count == 1 else 's'}")
        return
    try:
        account = with_accounts(lambda accounts: accounts.unbind(email))
    except NoSuchAccount as failure:
        mend = "`nanogpt-proxy list` shows all users"
        raise NoSuchAccount(failure.message, hint=mend) from None
    say(f"unbound {account.email}")
