"""Frozen values that all rooms share, and the canonical forms of what people type."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from nanogpt_proxy.errors import InvalidEmail, InvalidKey


class Secret:
    """Text that must not be seen: its `repr`, `str` and format are stars; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


class AccountState(StrEnum):
    """What an account can do; the words that `list --json` prints."""

    ACTIVE = "active"
    DISABLED = "disabled"
    NO_KEY = "no_key"
    KEY_REJECTED = "key_rejected"


def _state(disabled: bool, has_key: bool, rejected: bool) -> AccountState:
    if disabled:
        return AccountState.DISABLED
    if not has_key:
        return AccountState.NO_KEY
    return AccountState.KEY_REJECTED if rejected else AccountState.ACTIVE


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account as the store keeps it: the key is sealed, times are UTC and aware."""

    id: str
    """32 hex digits, never reused; part of the associated data of the sealed key."""
    email: str
    """Canonical, see `canonical_email`."""
    disabled: bool
    sealed_key: str | None
    key_hint: str | None
    """The last four characters of the key; `None` without a key."""
    added_at: datetime
    last_used_at: datetime | None
    bound_id: str | None = None
    """The id of the one user of Open WebUI who may use it; `None` until one does."""
    key_rejected_at: datetime | None = None
    """When NanoGPT refused the key; `None` for a key that works, as far as is known."""

    @property
    def state(self) -> AccountState:
        return _state(self.disabled, self.sealed_key is not None, self.key_rejected_at is not None)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the gateway sees it: the key is open, in memory only."""

    id: str
    email: str
    disabled: bool
    key: Secret | None = field(repr=False)
    bound_id: str | None = None
    key_rejected: bool = False

    @property
    def state(self) -> AccountState:
        return _state(self.disabled, self.key is not None, self.key_rejected)

    @property
    def open_key(self) -> Secret:
        """The key of an account that has one."""
        if self.key is None:
            raise ValueError("the account has no key")
        return self.key


_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_MAX_EMAIL = 320  # RFC 3696 erratum 1690 says 254; some directories keep longer ones


def canonical_email(text: str) -> str:
    """The one form of an e-mail address that accounts are compared by.

    Trimmed, ASCII letters lower-cased, nothing else folded or normalised: two addresses that a
    mail server may tell apart must not become one account. Raises `InvalidEmail`.
    """
    email = text.strip().translate(_ASCII_LOWER)
    local, at, domain = email.partition("@")
    if not at or not local or not domain or "@" in domain:
        raise InvalidEmail("an e-mail address has one @ with something on both sides")
    if len(email) > _MAX_EMAIL:
        raise InvalidEmail(f"an e-mail address has at most {_MAX_EMAIL} characters")
    if any(c == "," or c.isspace() or not c.isprintable() for c in email):
        raise InvalidEmail("an e-mail address holds no blanks, commas or control characters")
    return email


_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_USUAL_KEY = re.compile(rf"(?:sk-nano-)?{_UUID}")
_MAX_KEY = 512


def clean_key(text: str) -> Secret:
    """A pasted API key without the blanks around it, which NanoGPT would not forgive.

    Raises `InvalidKey` for what cannot be sent in a header, or is a management token, which
    does not work on inference endpoints.
    """
    key = text.strip()
    if not key:
        raise InvalidKey("the API key is empty")
    if len(key) > _MAX_KEY:
        raise InvalidKey(f"an API key has at most {_MAX_KEY} characters")
    if not all("!" <= c <= "~" for c in key):
        raise InvalidKey("an API key holds printable ASCII characters and no blanks")
    if key.startswith("sk-nano-mgmt-"):
        raise InvalidKey(
            "this is a NanoGPT management token, which cannot run models",
            hint="make an API key at https://nano-gpt.com/api",
        )
    return Secret(key)


def is_usual_key(key: Secret) -> bool:
    """Whether the key looks like those NanoGPT gives out: `sk-nano-<uuid>` or a bare UUID."""
    return _USUAL_KEY.fullmatch(key.reveal()) is not None


def key_hint(key: Secret) -> str:
    """The last four characters, by which an owner recognises a key; stars for a short one."""
    text = key.reveal()
    return text[-4:] if len(text) >= 12 else "****"
