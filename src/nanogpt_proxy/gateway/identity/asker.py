"""Who is asking, in the one form in which both kinds of headers say it."""

from __future__ import annotations

from dataclasses import dataclass

from nanogpt_proxy.errors import InvalidEmail, Refusal
from nanogpt_proxy.models import canonical_email

_MAX = 255


@dataclass(frozen=True, slots=True)
class Asker:
    """A user of Open WebUI. `id` and `role` are `None` where Open WebUI did not send them."""

    email: str
    """Canonical, see `models.canonical_email`."""
    id: str | None
    role: str | None


def asker(email: str, id: str | None, role: str | None) -> Asker:
    """Raises `ValueError` or `InvalidEmail` for what no user of Open WebUI can have."""
    for text in (id, role):
        if text is not None and not _is_name(text):
            raise ValueError
    if not email.isprintable():  # before the blanks around it are taken away
        raise InvalidEmail("an e-mail address holds no control characters")
    return Asker(canonical_email(email), id, role)


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _MAX and text.isprintable()


def unauthorised(code: str, message: str) -> Refusal:
    return Refusal(
        401,
        code,
        message,
        kind="authentication_error",
        headers=(("www-authenticate", "Bearer"),),
    )
