"""How the commands speak: results on stdout, all else on stderr behind the name of the program."""

from __future__ import annotations

import click

NAME = "nanogpt-proxy"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
"""Where a service that listens on all addresses is reached from this machine."""


def say(line: str) -> None:
    """A result."""
    click.echo(line)


def error(message: str) -> None:
    click.echo(f"{NAME}: error: {message}", err=True)


def hint(message: str) -> None:
    click.echo(f"{NAME}: hint: {message}", err=True)
