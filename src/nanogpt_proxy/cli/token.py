"""`token`: what to paste into Open WebUI as the API key."""

from __future__ import annotations

import click

from nanogpt_proxy.cli.output import say


@click.command("token")
def token() -> None:
    """Print what Open WebUI needs as its API key."""
    from nanogpt_proxy import settings
    from nanogpt_proxy.credentials import connection_tokens

    say(connection_tokens(settings.load())[0].reveal())
