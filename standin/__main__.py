"""`python -m standin`: prints where it listens, then serves until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import resource
import signal
import ssl
import sys

from aiohttp import web

from standin.scenarios import EARLY, SCENARIOS
from standin.server import Server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m standin", description="A local NanoGPT.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 lets the system choose")
    parser.add_argument(
        "--pace", type=float, default=0.0, help="seconds between the events of a stream"
    )
    parser.add_argument(
        "--bad-keys", type=int, default=10, help="how often a bad key gets 401 before 429"
    )
    parser.add_argument("--certificate", help="a PEM file: speak TLS, with the key of --key")
    parser.add_argument("--key", help="the private key of the certificate")
    parser.add_argument(
        "--until-eof", action="store_true", help="stop when standard input ends: with the owner"
    )
    parser.add_argument("--scenarios", action="store_true", help="list the scenarios and stop")
    return parser.parse_args()


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    return context


def _raise_descriptor_limit() -> None:
    """As many connections as the system allows: a thousand streams need two thousand."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_eof:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    server = Server(pace=options.pace, bad_keys=options.bad_keys)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    tls = _tls(options)
    await web.TCPSite(runner, options.host, options.port, backlog=4096, ssl_context=tls).start()
    host, port = runner.addresses[0][:2]
    print(f"standin listening on http{'s' if tls else ''}://{host}:{port}", flush=True)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    options = _arguments()
    if options.scenarios:
        print("\n".join([*SCENARIOS, *EARLY]))
        return
    logging.basicConfig(format="standin: %(message)s")
    _raise_descriptor_limit()
    asyncio.run(_serve(options))


if __name__ == "__main__":
    main()
