"""`healthcheck`: whether the proxy on this machine is ready, for containers and scripts."""

from __future__ import annotations

import click

from nanogpt_proxy.cli.output import EVERYWHERE, say
from nanogpt_proxy.errors import ConfigurationError, ProxyError

_SECONDS = 5.0


@click.command("healthcheck")
def healthcheck() -> None:
    """Ask the running proxy whether it is ready."""
    from nanogpt_proxy import settings

    chosen = settings.load()
    if chosen.proxy_port == 0:
        raise ConfigurationError(["PROXY_PORT is 0: nobody knows where the proxy listens"])
    _ask(EVERYWHERE.get(chosen.proxy_host, chosen.proxy_host), chosen.proxy_port)
    say("ready")


def _ask(host: str, port: int) -> None:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        if answer.status != 200:
            # One line of JSON of ours; of something else on this port, not much of it.
            body = answer.read(1000).decode(errors="replace")
            raise ProxyError(f"not ready: {answer.status} {' '.join(body.split())}")
    except OSError as failure:
        raise ProxyError(
            f"no answer from {host} port {port}: {failure.strerror or failure}"
        ) from None
    except HTTPException as failure:
        raise ProxyError(f"no HTTP from {host} port {port}: {type(failure).__name__}") from None
    finally:
        connection.close()
