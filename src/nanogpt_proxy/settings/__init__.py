"""Settings: each one once, read from the environment and `.env`, wrong ones refused at start.

`Settings` is the table and the result, `parse` says what a value may be, `sources` where values
come from. No other module reads the environment.

A message about a wrong value never repeats the value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.settings.parse import Unusable
from nanogpt_proxy.settings.sources import Sources
from nanogpt_proxy.settings.table import SETTINGS, Setting, Settings

__all__ = ["LATER", "SETTINGS", "Setting", "Settings", "load"]

LATER: dict[str, frozenset[str]] = {
    "VALKEY_URL": frozenset(),
    "WORKERS": frozenset({"1"}),
}
"""Settings of later releases, with the values that change nothing. Whoever sets one of them
relies on what it does: ignoring it would be less safe, or other, than they think."""


def load(
    environ: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    prefix: Path | None = None,
) -> Settings:
    """The settings of this process; raises `ConfigurationError` with every problem at once.

    `environ`, `cwd` and `prefix` stand for `os.environ`, the current directory and `sys.prefix`.
    """
    here = cwd or Path.cwd()
    checkout = _checkout(prefix or Path(sys.prefix))
    if environ is None:
        environ = os.environ  # noqa: TID251 - this is the module that may
    sources = Sources.read(environ, here, checkout)
    problems = list(sources.problems)
    problems += _later_names(sources)
    problems += _empty_secret(sources)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            values[setting.attribute] = _value(setting, sources, checkout or here)
        except Unusable as why:
            problems.append(str(why))
    problems += _contradictions(values)
    if problems:
        raise ConfigurationError(problems)
    return Settings(**values)


def _checkout(prefix: Path) -> Path | None:
    """The folder whose `.venv` runs us, so that the command finds its data from anywhere."""
    if prefix.name == ".venv" and (prefix.parent / "pyproject.toml").is_file():
        return prefix.parent
    return None


def _value(setting: Setting, sources: Sources, home: Path) -> Any:
    said = sources.find(setting.name, setting.other_spelling)
    base = home if said is None else said.base
    value = setting.default
    if said is not None:
        try:
            value = setting.parse(said.text)
        except Unusable as mend:
            raise Unusable(f"{said.where}: {mend}") from None
    if isinstance(value, Path):
        value = base / value.expanduser()
    if setting.check is not None and value is not None:
        try:
            setting.check(value)
        except Unusable as mend:
            raise Unusable(f"{said.where if said else setting.name}: {mend}") from None
    return value


def _later_names(sources: Sources) -> Iterator[str]:
    for name, harmless in LATER.items():
        try:
            said = sources.find(name)
        except Unusable as why:
            yield str(why)
            continue
        if said is not None and said.text.strip() not in harmless:
            yield f"{said.where}: this release does not support {name} yet; remove it"


def _empty_secret(sources: Sources) -> Iterator[str]:
    """Elsewhere nothing means unset. Here it would mean to believe plain headers again, because
    of a variable that somebody misspelled."""
    name = "OPENWEBUI_JWT_SECRET"
    if sources.empty(name):
        yield f"{name}: is empty; give it Open WebUI's secret, or take the line away"


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Values that are good alone and not together; one that failed before is not in `values`."""
    url, allowed = values.get("upstream_url"), values.get("upstream_allow_http")
    if url and allowed is False and not _encrypted_or_local(url):
        yield (
            "UPSTREAM_URL: http:// would send API keys in the clear; write https://, "
            "or set UPSTREAM_ALLOW_HTTP=true if the network in between is yours"
        )
    key, previous = values.get("db_encryption_key"), values.get("db_encryption_key_previous")
    if previous and "db_encryption_key" in values and previous == key:
        yield "DB_ENCRYPTION_KEY_PREVIOUS: is the same key as DB_ENCRYPTION_KEY; remove it"
    elif previous and "db_encryption_key" in values and key is None:
        yield (
            "DB_ENCRYPTION_KEY_PREVIOUS: set DB_ENCRYPTION_KEY to the new key too; "
            "`nanogpt-proxy rotate-key` alone changes the key of DATA_DIR/encryption.key"
        )
    one, all_ = values.get("max_json_bytes"), values.get("max_buffered_bytes")
    if one and all_ and all_ < one:
        yield "MAX_BUFFERED_BYTES: must not be less than MAX_JSON_BYTES, or no such body ever fits"
    yield from _contradictions_of_identity(values)


def _contradictions_of_identity(values: Mapping[str, Any]) -> Iterator[str]:
    if values.get("openwebui_jwt_secret_previous") and not values.get(
        "openwebui_jwt_secret", "wrong"
    ):
        yield "OPENWEBUI_JWT_SECRET_PREVIOUS: is of no use alone; set OPENWEBUI_JWT_SECRET too"
    if values.get("anonymous_calls") == "service" and not values.get("service_api_key", "wrong"):
        yield "ANONYMOUS_CALLS: service needs a SERVICE_API_KEY; set it, or write deny"
    names = [name for name in values if name.startswith("forward_user_info_header_")]
    if len({values[name].lower() for name in names}) < len(names):
        yield "FORWARD_USER_INFO_HEADER_…: two headers have one name; give each its own"


def _encrypted_or_local(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
