"""How the commands speak: results on stdout, all else on stderr behind the name of the program."""

from __future__ import annotations

from collections.abc import Sequence

import click

NAME = "nanogpt-proxy"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
"""Where a service that listens on all addresses is reached from this machine."""


def say(line: str) -> None:
    """A result."""
    click.echo(line)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return "\n".join(_line(row, widths) for row in (titles, *rows))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def error(message: str) -> None:
    click.echo(f"{NAME}: error: {message}", err=True)


def hint(message: str) -> None:
    click.echo(f"{NAME}: hint: {message}", err=True)
