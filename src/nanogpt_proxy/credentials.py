"""The connection token: what Open WebUI shows to be let in."""

from __future__ import annotations

import secrets
from pathlib import Path

from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.private_files import create_private, read_private
from nanogpt_proxy.settings import Settings

FILE_NAME = "proxy.token"
_PREFIX = "npt-"
_MIN_LENGTH = 16


def connection_tokens(settings: Settings) -> tuple[Secret, ...]:
    """Those of PROXY_TOKEN, else the one in DATA_DIR, which is made when it is missing.

    Never empty. Raises `ConfigurationError`.
    """
    if settings.proxy_token:
        return settings.proxy_token
    path = settings.data_dir / FILE_NAME
    try:
        text = read_private(path)
        if text is None:
            create_private(path, _PREFIX + secrets.token_urlsafe(32))
            text = read_private(path) or ""
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be used: {error.strerror}"]) from None
    return (_checked(text, path),)


def _checked(text: str, path: Path) -> Secret:
    if len(text) < _MIN_LENGTH or not all("!" <= c <= "~" for c in text):
        raise ConfigurationError(
            [
                f"{path} does not hold a connection token of {_MIN_LENGTH} or more characters: "
                "delete it to have a new one made, or set PROXY_TOKEN"
            ]
        )
    return Secret(text)
