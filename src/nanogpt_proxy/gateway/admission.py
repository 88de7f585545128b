"""Hops 3 and 4: from what the headers say to the account whose key pays for the request."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from nanogpt_proxy.directory import NOT_LOADED, Directory
from nanogpt_proxy.errors import AccountError
from nanogpt_proxy.gateway import refusals
from nanogpt_proxy.gateway.headers import Fields
from nanogpt_proxy.gateway.identity import Asker, Identities, missing
from nanogpt_proxy.gateway.rejection import Rejections
from nanogpt_proxy.gateway.routes import Route
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.models import Account
from nanogpt_proxy.settings import Settings

_logger = logging.getLogger(__name__)

SERVICE = "service"
"""Stands for an account's id in the log where a call without a user was paid for."""


class Admission:
    """All that decides who pays. An ordinary request is a look into memory."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        rejections: Rejections,
        counters: Counters,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._identities = Identities(settings)
        self._directory = directory
        self._rejections = rejections
        self._counters = counters
        self._clock = clock
        self._binds = settings.bind_identity
        self._service: Account | None = None
        if settings.anonymous_calls == "service":
            self._service = Account(SERVICE, "", False, settings.service_api_key)
        self._service_routes = frozenset(settings.service_routes)

    def admit(self, fields: Fields, route: Route) -> Account | Callable[[], Awaitable[Account]]:
        """The account with its key, or how to wait for it; either way raises `Refusal`."""
        asker = self._identities.who(fields, self._clock())
        if asker is None:
            return self._nobody(route)
        account = self._directory.find(asker.email)
        if account is NOT_LOADED or self._binding_due(account, asker):
            return lambda: self._load(asker)
        return self._usable(account)

    async def _load(self, asker: Asker) -> Account:
        account = await self._directory.load(asker.email)
        if self._binding_due(account, asker):
            account = await self._bound(account, asker)
        return self._usable(account)

    def _binding_due(self, account: Account | None, asker: Asker) -> bool:
        """Whether an account is to be bound or moved; raises `Refusal` for somebody else's."""
        if not self._binds:
            return False
        if account is None:
            return asker.id is not None and not self._directory.is_stranger(asker.id)
        if account.bound_id == asker.id:
            return False
        if account.bound_id is not None:
            raise refusals.identity_changed()
        return not account.disabled

    async def _bound(self, account: Account | None, asker: Asker) -> Account | None:
        if asker.id is None:
            return account
        try:
            if account is not None:
                return await self._directory.bind(account, asker.id)
            account = await self._directory.move(asker.id, asker.email)
        except AccountError:
            raise refusals.identity_changed() from None
        if account is not None:
            extra = {"fields": {"account": account.id}}
            _logger.warning("an account has moved to its user's new e-mail", extra=extra)
        return account

    def _nobody(self, route: Route) -> Account:
        account = self._service if route.name in self._service_routes else None
        self._counters.count_anonymous(route.name, served=account is not None)
        if account is None:
            raise missing()
        return self._usable(account)

    def _usable(self, account: Account | None) -> Account:
        if account is not None and account.disabled:
            raise refusals.user_disabled()
        if account is None or account.key is None:
            raise refusals.key_not_enrolled()
        self._rejections.check(account)
        return account
