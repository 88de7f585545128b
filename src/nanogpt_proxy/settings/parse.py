"""What a value may be: one function per kind, from the text to the value.

Each raises `Unusable` with the mend: a clause that follows the name and a colon, and that never
repeats the text.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from nanogpt_proxy.errors import InvalidKey
from nanogpt_proxy.models import Secret, clean_key


class Unusable(ValueError):
    """A value cannot be used; the text says what would be right."""


def text(raw: str) -> str:
    value = raw.strip()
    if not value.isprintable():
        raise Unusable("must not hold control characters")
    return value


def host(raw: str) -> str:
    value = raw.strip()
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", value):
        raise Unusable("must be an IP address or a host name, such as 127.0.0.1")
    return value


def whole(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        value = raw.strip()
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise Unusable(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def size(raw: str) -> int:
    """Bytes."""
    match = re.fullmatch(r"([0-9]{1,15}) ?(|KiB|MiB|GiB)", raw.strip())
    if match is None or int(match[1]) == 0:
        raise Unusable("must be a number of bytes above 0, such as 33554432 or 32MiB")
    return int(match[1]) * _UNITS[match[2]]


_YEAR = 365 * 86400.0  # a longer one would not fit the event loop's clock


def _seconds(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        return math.nan
    return value if value <= _YEAR else math.nan


def seconds(raw: str) -> float:
    value = _seconds(raw)
    if not value > 0:
        raise Unusable("must be a number of seconds above 0, at most a year")
    return value


def seconds_or_none(raw: str) -> float:
    """Zero means not at all."""
    value = _seconds(raw)
    if not value >= 0:
        raise Unusable("must be a number of seconds from 0 to a year")
    return value


_YES_NO = {"true": True, "yes": True, "on": True, "1": True}
_YES_NO |= {"false": False, "no": False, "off": False, "0": False}


def yes_no(raw: str) -> bool:
    value = _YES_NO.get(raw.strip().lower())
    if value is None:
        raise Unusable("must be true or false")
    return value


def choice(*words: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        value = raw.strip().lower()
        if value not in words:
            raise Unusable(f"must be one of {', '.join(words)}")
        return value

    return parse


def path(raw: str) -> Path:
    """As written; `load` makes it absolute, because only it knows where it was written."""
    if "\0" in raw:
        raise Unusable("must be a path")
    return Path(raw)


def master_key(raw: str) -> Secret:
    value = raw.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise Unusable(
            "must be 64 hex digits, as `openssl rand -hex 32` makes them. A key of the earlier "
            "nanogpt-proxy does not fit: set a new one here, and bring its users over by "
            "`nanogpt-proxy import keys.db`"
        )
    if len(set(value)) == 1:
        raise Unusable("is one digit repeated; make a random one with `openssl rand -hex 32`")
    return Secret(value)


def old_secret(raw: str) -> Secret:
    """As it is: blanks may be part of it."""
    if "\0" in raw:
        raise Unusable("must be text")
    return Secret(raw)


def tokens(raw: str) -> tuple[Secret, ...]:
    """Comma-separated; no text at all means none."""
    values = [item.strip() for item in raw.split(",")]
    for value in values:
        if raw and not re.fullmatch(r"[!-~]{16,512}", value):
            raise Unusable(
                "each token must have 16 to 512 printable ASCII characters and no blanks; "
                "several are separated by one comma"
            )
    return tuple(Secret(value) for value in dict.fromkeys(values) if value)


def jwt_secret(raw: str) -> Secret:
    """As it stands, because Open WebUI takes it so: blanks at its ends would be a slip."""
    if raw != raw.strip() or not raw.isprintable() or len(raw.encode()) < 32:
        raise Unusable(
            "must have at least 32 bytes, without blanks around them or control characters, "
            "as `openssl rand -hex 32` makes them"
        )
    return Secret(raw)


# Names with a meaning of their own; who is asking cannot be read from them.
_TAKEN = frozenset(
    "accept accept-encoding authorization connection content-encoding content-length "
    "content-type cookie expect host keep-alive proxy-authorization te trailer transfer-encoding "
    "upgrade x-api-key".split()
)


def header_name(raw: str) -> str:
    value = raw.strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", value) or value.lower() in _TAKEN:
        raise Unusable("must be the name of a header of its own: letters, digits and -")
    return value


def _names(raw: str, pattern: str) -> tuple[str, ...] | None:
    """Comma-separated names; `None` when there is one that is none."""
    values = [item.strip().lower() for item in raw.split(",")]
    if not all(re.fullmatch(pattern, value) for value in values):
        return None
    return tuple(dict.fromkeys(values))


def roles(raw: str) -> tuple[str, ...]:
    values = _names(raw, r"[a-z0-9_.-]{1,64}")
    if values is None or "pending" in values:
        raise Unusable("must be roles such as admin,user, and never pending")
    return values


SERVICE_ROUTES = (
    "chat/completions",
    "completions",
    "responses",
    "messages",
    "messages/count_tokens",
    "embeddings",
    "images/generations",
    "images/edits",
    "images",
    "audio/speech",
    "audio/transcriptions",
    "moderations",
)


def routes(raw: str) -> tuple[str, ...]:
    values = _names(raw, r"[a-z_/]{1,64}")
    if values is None or not set(values) <= set(SERVICE_ROUTES):
        raise Unusable(f"must be some of {', '.join(SERVICE_ROUTES)}")
    return values


def service_key(raw: str) -> Secret:
    try:
        return clean_key(raw)
    except InvalidKey as why:
        raise Unusable(f"cannot be used: {why.message}") from None


def database_url(raw: str) -> str:
    """SQLAlchemy's spelling, where a fourth slash begins an absolute path."""
    value = raw.strip()
    if not value.startswith("sqlite:"):
        raise Unusable(
            "must begin with sqlite: other databases are not in this release; "
            "leave it unset for a database in DATA_DIR"
        )
    file = value.removeprefix("sqlite:///")
    if file == value or not file.startswith("/") or file.endswith("/") or "?" in file:
        raise Unusable("must be sqlite:////absolute/path/of/the.db, with four slashes")
    return value


def upstream_url(raw: str) -> str:
    """Without the slash at its end. Whether http:// will do is judged by `load`."""
    value = raw.strip()
    parts = _url(value)
    if parts is None or parts.scheme not in ("http", "https"):
        raise Unusable("must be a URL such as https://api.nano-gpt.com/api/v1")
    if "@" in parts.netloc:
        raise Unusable("must not hold a user name or password; remove what stands before the @")
    if "?" in value or "#" in value:
        raise Unusable("must end with the path; remove the ? or # and what follows")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def proxy_url(raw: str) -> Secret:
    """Secret, because it may hold a password."""
    value = raw.strip()
    parts = _url(value)
    if parts is None or parts.scheme != "http" or not parts.port or parts.path not in ("", "/"):
        raise Unusable("must be http://host:port or http://user:password@host:port")
    if "?" in value or "#" in value:
        raise Unusable("must end with the port; write ? and # in a password as %3F and %23")
    return Secret(value.removesuffix("/"))


def _url(value: str) -> SplitResult | None:
    """The parts of a URL that has a host and a real port, if any; else `None`."""
    if not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        return None
    try:
        parts = urlsplit(value)
        ok = bool(parts.hostname) and parts.port != 0  # `.port` raises above 65535
    except ValueError:
        return None
    return parts if ok else None


def certificates(file: Path) -> None:
    """Checks that a file of certificates can be read, without asking OpenSSL for an opinion."""
    try:
        if b"-----BEGIN CERTIFICATE-----" not in file.read_bytes():
            raise Unusable("its file holds no certificate in PEM form; name the right one")
    except OSError as error:
        raise Unusable(f"its file cannot be read ({error.strerror}); mend the path") from None


def folder(directory: Path) -> None:
    """Checks that a directory is one, or may become one."""
    if os.path.lexists(directory) and not directory.is_dir():
        raise Unusable("there is something that is no directory; name another place")
