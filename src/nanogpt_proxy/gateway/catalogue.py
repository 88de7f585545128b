"""The model lists: one for everybody, from memory while fresh, stale rather than none.

Open WebUI keeps one list for all its users, so a list that differed per key would leak from one
to the next. They are therefore fetched without a key and without any caller's header.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.answers import compact
from nanogpt_proxy.gateway.upstream import FetchFailed, Pool, fetch

_logger = logging.getLogger(__name__)

_LIMIT = 32 * 1024 * 1024
_PATIENCE = 7.0  # seconds; Open WebUI waits 10, and an answer of ours is due within 8
_PATIENCE_WITH_STALE = 1.0
_RETRY_AFTER = 5.0  # seconds before a list that could not be fetched is asked for again

# The query keys that the lists know, and their values; all others are left out, so that nobody
# can fill the memory with lists that differ by their address alone.
_KNOWN: Mapping[str, frozenset[str]] = {
    "detailed": frozenset({"true", "false"}),
    "sort": frozenset({"favorites", "mostused"}),
    "type": frozenset({"all", "tts", "stt"}),
}


@dataclass(slots=True)
class _Listing:
    body: bytes
    models: Mapping[str, Any]
    fetched_at: float


class Catalogue:
    """Lists by path and query. `ttl` is how long one is fresh, in seconds."""

    def __init__(self, pool: Pool, ttl: float) -> None:
        self._pool = pool
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._listings: dict[bytes, _Listing] = {}
        self._failed_at: dict[bytes, float] = {}
        self._flights: dict[bytes, asyncio.Task[_Listing]] = {}

    async def listing(self, path: bytes, query: bytes) -> bytes:
        """The list as JSON; raises `Refusal` (503) when there is none to be had in time."""
        return (await self._get(path + _known(query))).body

    async def model(self, name: str, query: bytes) -> bytes:
        """One entry of the list of models; raises `Refusal` (404) for an unknown name."""
        listing = await self._get(b"/models" + _known(query))
        entry = listing.models.get(name)
        if entry is None:
            raise Refusal(
                404,
                "model_not_found",
                "There is no such model; GET /v1/models lists those that there are.",
                kind="not_found_error",
            )
        return compact(entry)

    async def close(self) -> None:
        for flight in list(self._flights.values()):
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    async def _get(self, target: bytes) -> _Listing:
        known, now = self._listings.get(target), self._loop.time()
        if known is not None and now - known.fetched_at < self._ttl:
            return known
        if now - self._failed_at.get(target, -_RETRY_AFTER) < _RETRY_AFTER:
            return _stale(known)
        flight = self._flights.get(target)
        if flight is None:
            flight = self._loop.create_task(self._fetch(target))
            self._flights[target] = flight
            flight.add_done_callback(lambda done: self._landed(target, done))
        patience = _PATIENCE if known is None else _PATIENCE_WITH_STALE
        try:
            async with asyncio.timeout(patience):
                return await asyncio.shield(flight)
        except (FetchFailed, TimeoutError):
            return _stale(known)

    def _landed(self, target: bytes, flight: asyncio.Task[_Listing]) -> None:
        del self._flights[target]
        if flight.cancelled():
            return
        error = flight.exception()
        if error is None:
            self._listings[target] = flight.result()
            self._failed_at.pop(target, None)
        else:
            self._failed_at[target] = self._loop.time()
            _logger.warning("model list not fetched", extra={"fields": {"reason": str(error)}})

    async def _fetch(self, target: bytes) -> _Listing:
        try:
            async with asyncio.timeout(4 * _PATIENCE):
                status, _, body = await fetch(self._pool, target, limit=_LIMIT)
        except TimeoutError:
            raise FetchFailed("NanoGPT does not answer") from None
        if status != 200:
            raise FetchFailed(f"NanoGPT answers with status {status}")
        return _read(body, self._loop.time())


def _read(body: bytes, now: float) -> _Listing:
    """Drops `pipeline`, which would make Open WebUI put the user's data into request bodies."""
    try:
        value = json.loads(body)
        entries = [entry for entry in value["data"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchFailed("NanoGPT's list is not of the known form") from None
    found = False
    for entry in entries:
        found |= entry.pop("pipeline", None) is not None
    if b'"pipeline"' in body or found:
        body = compact(value)
    models = {entry["id"]: entry for entry in entries if isinstance(entry.get("id"), str)}
    return _Listing(body, models, now)


def _stale(known: _Listing | None) -> _Listing:
    if known is not None:
        return known
    raise Refusal(
        503,
        "models_unavailable",
        "NanoGPT's model list cannot be fetched at the moment; try again in a few seconds.",
        kind="service_unavailable",
        headers=(("retry-after", "5"),),
    )


def _known(query: bytes) -> bytes:
    """The query with the known keys and values alone, in one order."""
    pairs = sorted(
        {
            key: value
            for key, value in parse_qsl(query.decode("latin-1"))
            if value in _KNOWN.get(key, frozenset())
        }.items()
    )
    return b"?" + urlencode(pairs).encode() if pairs else b""
