"""What a file says of each user, checked: one entry for one user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from nanogpt_proxy.errors import InvalidInput, ProxyError
from nanogpt_proxy.models import Secret, canonical_email, clean_key


@dataclass(frozen=True, slots=True)
class Row:
    """As it stands in the file."""

    where: str
    """Such as `row 3`: the file may hold anything, so that messages name the place alone."""
    email: str
    key: str | None = field(repr=False)
    disabled: bool | None = None
    """`None`: the file does not say."""
    added_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A user to bring in."""

    email: str
    """Canonical."""
    key: Secret | None
    disabled: bool | None
    added_at: datetime | None


class Source(Protocol):
    """A file that was recognised."""

    @property
    def asks_for(self) -> str | None:
        """What must be typed to open it, for a prompt; `None` for nothing."""

    def rows(self, secret: Secret | None) -> list[Row]: ...


def checked(rows: Iterable[Row]) -> list[Entry]:
    """In the order of the file. Raises `ProxyError` for the first thing that is wrong."""
    entries: list[Entry] = []
    written: dict[str, Row] = {}
    for row in rows:
        try:
            entry = _entry(row)
        except InvalidInput as error:
            raise ProxyError(f"{row.where}: {error.message}", hint=error.hint) from None
        other = written.setdefault(entry.email, row)
        if other is not row:
            raise ProxyError(
                f"{other.where} and {row.where} are one user: "
                f"{other.email.strip()} and {row.email.strip()}",
                hint="leave one of them in the file",
            )
        entries.append(entry)
    return entries


def _entry(row: Row) -> Entry:
    email = canonical_email(row.email)
    key = clean_key(row.key) if row.key else None
    return Entry(email, key, row.disabled, row.added_at)
