"""File descriptors: how many there are, and how many connections fit into them."""

from __future__ import annotations

import logging
import resource

from nanogpt_proxy.settings import Settings

_logger = logging.getLogger(__name__)

_OWN = 64  # database, logs, listener, event loop


def connections_that_fit(settings: Settings) -> int:
    """Raises the soft limit to the hard one; how many clients may then be connected.

    A client being served takes two descriptors, its own and one to NanoGPT. Where the limit is too
    short for `MAX_CONNECTIONS`, that is said, and fewer are let in: refusing a connection with a
    sentence is better than failing to accept it.
    """
    limit = _raised_limit()
    wanted = settings.max_connections + settings.upstream_connections + _OWN
    if limit >= wanted:
        return settings.max_connections
    share = settings.max_connections / (settings.max_connections + settings.upstream_connections)
    fits = max(1, int((limit - _OWN) * share))
    _logger.warning(
        "too few file descriptors for MAX_CONNECTIONS and UPSTREAM_CONNECTIONS; "
        "raise the limit of open files (ulimit -n, LimitNOFILE) or lower the settings",
        extra={"fields": {"limit": limit, "wanted": wanted, "max_connections": fits}},
    )
    return fits


def _raised_limit() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft if soft != resource.RLIM_INFINITY else 2**31
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard if hard != resource.RLIM_INFINITY else 2**31
