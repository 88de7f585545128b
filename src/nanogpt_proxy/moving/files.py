"""Tells what a file is by what is in it; its name says nothing."""

from __future__ import annotations

import json
from pathlib import Path

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.moving.entries import Source
from nanogpt_proxy.moving.exported import Exported
from nanogpt_proxy.moving.lists import CsvList, JsonList
from nanogpt_proxy.moving.seed import MAGIC, SeedFile

_LARGEST = 64 * 1024 * 1024


def recognise(path: Path) -> Source:
    """Raises `ProxyError` for a file that cannot be read or is none of ours."""
    try:
        with path.open("rb") as file:
            raw = file.read(len(MAGIC))
            if raw == MAGIC:
                return SeedFile(path)
            raw += file.read(_LARGEST)
    except OSError as error:
        raise ProxyError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > _LARGEST:
        raise ProxyError(f"{path} has more than 64 MiB: it is no list of users")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProxyError(f"{path} is neither a database nor UTF-8 text") from None
    return _of_text(path, text)


def _of_text(path: Path, text: str) -> Source:
    if text.lstrip()[:1] not in ("[", "{"):
        return CsvList(text)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProxyError(f"{path} is not JSON from line {error.lineno} on") from None
    except (ValueError, RecursionError):
        raise ProxyError(f"{path} is JSON of no kind that is known here") from None
    return JsonList(value) if isinstance(value, list) else Exported(value)
