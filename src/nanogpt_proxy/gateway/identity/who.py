"""Which header counts, and whose role may make calls."""

from __future__ import annotations

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import IDENTITY, USER_JWT, Fields
from nanogpt_proxy.gateway.identity import plain
from nanogpt_proxy.gateway.identity.asker import Asker, unauthorised
from nanogpt_proxy.gateway.identity.signed import Signatures
from nanogpt_proxy.settings import Settings


class Identities:
    """With a secret the signed header alone counts; without one the plain headers do."""

    def __init__(self, settings: Settings) -> None:
        now, before = settings.openwebui_jwt_secret, settings.openwebui_jwt_secret_previous
        secrets = [secret for secret in (now, before) if secret is not None]
        self._signatures = Signatures(secrets) if now is not None else None
        self._roles = frozenset(settings.allowed_roles)

    def who(self, fields: Fields, now: float) -> Asker | None:
        """Who is asking; `None` if no header says anything about it. Raises `Refusal`."""
        if IDENTITY.isdisjoint(fields):
            return None
        if self._signatures is None:
            asker = plain.read(fields)
        else:
            asker = self._signatures.verify(_signed(fields), now)
        if asker.role is not None and asker.role not in self._roles:
            raise Refusal(
                403,
                "role_not_allowed",
                "Your role in Open WebUI may not make calls here; ask its operator.",
                kind="permission_error",
            )
        return asker


def _signed(fields: Fields) -> bytes:
    token = fields.get(USER_JWT)
    if token is None:
        # Open WebUI falls back to plain headers when it fails to sign, and so would a forger.
        raise unauthorised(
            "identity_unsigned",
            "The header that names the user is not signed; Open WebUI's operator must set "
            "FORWARD_USER_INFO_HEADER_JWT_SECRET and look into its log.",
        )
    return token
