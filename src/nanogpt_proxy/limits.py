"""Hop 5: whether an account may make one more request now. So far everybody may."""

from __future__ import annotations

from typing import Protocol

from nanogpt_proxy.models import Account


class Ticket(Protocol):
    """What an admitted request holds; it is given back once, however the request ends."""

    def release(self) -> None: ...


class _Free:
    def release(self) -> None:
        """Nothing was taken."""


class Limits:
    """Admits every request."""

    _ticket = _Free()

    def admit(self, account: Account) -> Ticket:
        return self._ticket
