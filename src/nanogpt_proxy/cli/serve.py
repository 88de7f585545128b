"""`serve`: run the proxy, and say what Open WebUI needs to find it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nanogpt_proxy.cli.output import EVERYWHERE, hint, say

if TYPE_CHECKING:
    from nanogpt_proxy.app import Listening


@click.command("serve")
def serve() -> int:
    """Run the proxy until it is told to stop."""
    from nanogpt_proxy import app, settings

    return app.serve(settings.load(), announce=announce)


def announce(listening: Listening) -> None:
    """Said once, when connections are accepted. The token is for eyes, not for log files."""
    for note in listening.notes:
        hint(note)
    everywhere = EVERYWHERE.get(listening.host)
    host = everywhere or listening.host
    url = f"http://[{host}]:{listening.port}" if ":" in host else f"http://{host}:{listening.port}"
    for_eyes = sys.stdout.isatty()
    say(f"nanogpt-proxy listens on {url}{', and on all other addresses' if everywhere else ''}")
    say("")
    say("Open WebUI finds it with these lines in its environment:")
    say("")
    say(f"  OPENAI_API_BASE_URL={url}/v1")
    say(f"  OPENAI_API_KEY={listening.token.reveal() if for_eyes else '<token>'}")
    say("  ENABLE_FORWARD_USER_INFO_HEADERS=true")
    if listening.jwt_secret is not None:
        secret = listening.jwt_secret.reveal() if for_eyes else "<OPENWEBUI_JWT_SECRET>"
        say(f"  FORWARD_USER_INFO_HEADER_JWT_SECRET={secret}")
    say("")
    if everywhere:
        say(f"elsewhere than on this machine: write its name in place of {host}")
    if not for_eyes:
        say("token: run `nanogpt-proxy token`")
    say("users: run `nanogpt-proxy add-user EMAIL`")
    sys.stdout.flush()
