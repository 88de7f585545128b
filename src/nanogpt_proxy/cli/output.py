"""How the commands speak: results on stdout, all else on stderr behind the name of the program."""

from __future__ import annotations

import click

NAME = "nanogpt-proxy"


def say(line: str) -> None:
    """A result."""
    click.echo(line)


def error(message: str) -> None:
    click.echo(f"{NAME}: error: {message}", err=True)


def hint(message: str) -> None:
    click.echo(f"{NAME}: hint: {message}", err=True)
