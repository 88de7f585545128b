"""The only place where things are put together: settings in, a running service out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop

from nanogpt_proxy import logs
from nanogpt_proxy.credentials import connection_tokens
from nanogpt_proxy.descriptors import connections_that_fit
from nanogpt_proxy.directory import Directory
from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.gateway.admission import Admission
from nanogpt_proxy.gateway.budget import BodyBudget
from nanogpt_proxy.gateway.catalogue import Catalogue
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.exchange import Exchange
from nanogpt_proxy.gateway.identity import ConnectionTokens
from nanogpt_proxy.gateway.judge import Judge
from nanogpt_proxy.gateway.rejection import Rejections
from nanogpt_proxy.gateway.server import Server
from nanogpt_proxy.gateway.upstream import Origin, Pool
from nanogpt_proxy.health import Health
from nanogpt_proxy.limits import Limits
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import Opened, open_store_and_vault
from nanogpt_proxy.pseudonyms import open_pseudonyms
from nanogpt_proxy.settings import Settings

T = TypeVar("T")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """What the person who started the service is told once it accepts connections."""

    host: str
    port: int
    token: Secret
    first_start: bool
    notes: tuple[str, ...]
    jwt_secret: Secret | None = None
    """What Open WebUI is to sign the user with, if it is."""


def serve(settings: Settings, *, announce: Callable[[Listening], None]) -> int:
    """Runs until SIGTERM or SIGINT; the exit code. Raises `ProxyError` when it cannot start."""
    logs.configure(settings.log_level, _log_format(settings))
    run(_serve(settings, announce))
    return 0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs it on the kind of event loop that the service runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _serve(settings: Settings, announce: Callable[[Listening], None]) -> None:
    stop = _stop_on_signals()
    tokens = connection_tokens(settings)
    opened = await open_store_and_vault(settings)
    try:
        async with running(settings, opened, tokens) as (server, context):
            host, port = await _listen(server, settings)
            fields = {"host": host, "port": port}
            _logger.info("listening", extra={"fields": fields})
            _settle_memory()
            secret = settings.openwebui_jwt_secret
            announce(Listening(host, port, tokens[0], opened.first_start, opened.notes, secret))
            await stop.wait()
            await _drain(server, context)
    finally:
        await opened.store.close()
    _logger.info("stopped")


def _settle_memory() -> None:
    """Leaves what start-up made out of every later collection, which would only delay streams.

    A request leaves no cycles behind, so collections may also be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 100)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # who presses Ctrl-C again will not wait

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, asked)
    return stop


async def _listen(server: Server, settings: Settings) -> tuple[str, int]:
    try:
        return await server.listen()
    except OSError as error:
        place = f"{settings.proxy_host}:{settings.proxy_port}"
        raise ConfigurationError(
            [f"cannot listen on {place} ({error.strerror}): change PROXY_HOST or PROXY_PORT"]
        ) from None


@contextlib.asynccontextmanager
async def running(
    settings: Settings, opened: Opened, tokens: tuple[Secret, ...]
) -> AsyncIterator[tuple[Server, Context]]:
    """Everything but the listener; closed in the reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        directory = Directory(opened.store, opened.vault)
        await directory.start()
        stack.push_async_callback(directory.stop)
        pool = _pool(settings)
        stack.push_async_callback(pool.close)
        catalogue = Catalogue(pool, settings.models_ttl)
        stack.push_async_callback(catalogue.close)
        rejections = Rejections(directory, loop)
        stack.push_async_callback(rejections.close)
        counters = Counters()
        context = Context(
            loop=loop,
            settings=settings,
            tokens=ConnectionTokens(tokens),
            admission=Admission(settings, directory, rejections, counters),
            rejections=rejections,
            directory=directory,
            limits=Limits(),
            pool=pool,
            catalogue=catalogue,
            health=Health(opened.store, opened.vault),
            budget=BodyBudget(settings.max_buffered_bytes),
            judge=Judge(),
            counters=counters,
            pseudonyms=await open_pseudonyms(settings, opened.store, opened.vault),
            access_log=_access_log(settings),
        )
        if context.access_log is not None:
            stack.callback(context.access_log.close)
        yield _server(settings, context), context


def _server(settings: Settings, context: Context) -> Server:
    return Server(
        settings,
        lambda client, request: Exchange(context, client, request),
        max_connections=connections_that_fit(settings),
    )


def _pool(settings: Settings) -> Pool:
    return Pool(
        Origin.of(settings),
        limit=settings.upstream_connections,
        idle_seconds=settings.upstream_idle_seconds,
        connect_timeout=settings.connect_timeout,
    )


def _access_log(settings: Settings) -> logs.AccessLog | None:
    if not settings.log_requests:
        return None
    return logs.AccessLog(sys.stderr, _log_format(settings), asyncio.get_running_loop())


def _log_format(settings: Settings) -> logs.Format:
    return "json" if settings.log_format == "json" else "text"


async def _drain(server: Server, context: Context) -> None:
    """Says unready at once, goes on for `DRAIN_DELAY`, then lets running answers end."""
    settings = context.settings
    _logger.info("stopping", extra={"fields": {"drain_seconds": settings.drain_seconds}})
    context.health.draining = True
    if settings.drain_delay:
        await asyncio.sleep(settings.drain_delay)
    await server.drain(settings.drain_seconds)
