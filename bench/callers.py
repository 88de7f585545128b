"""The made-up users of a run, and what each of them shows to a proxy or to the upstream itself."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Caller:
    email: str
    key: str


def invent(count: int) -> list[Caller]:
    return [
        Caller(f"user{number}@example.com", f"sk-nano-{uuid.uuid4()}") for number in range(count)
    ]


def invent_token() -> str:
    return f"npt-{secrets.token_urlsafe(32)}"


def write(path: Path, callers: Iterable[Caller], *, token: str | None) -> Path:
    """A file for the load generators: bearer, tab, e-mail. Without a token each brings a key."""
    lines = (f"{token or caller.key}\t{caller.email}\n" for caller in callers)
    path.write_text("".join(lines))
    return path
