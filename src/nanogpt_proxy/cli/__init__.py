"""The command line: one small file per group of commands.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or
configuration. What a command alone needs is imported inside it, so that each starts fast.
"""

from __future__ import annotations

import sys

import click

from nanogpt_proxy import __version__
from nanogpt_proxy.cli.binding import unbind
from nanogpt_proxy.cli.ending import run
from nanogpt_proxy.cli.healthcheck import healthcheck
from nanogpt_proxy.cli.listing import list_users
from nanogpt_proxy.cli.migrate import migrate
from nanogpt_proxy.cli.moving import export_users, import_users
from nanogpt_proxy.cli.output import NAME
from nanogpt_proxy.cli.rotation import rotate_key
from nanogpt_proxy.cli.serve import serve
from nanogpt_proxy.cli.token import token
from nanogpt_proxy.cli.users import add_user, del_user, disable_user, enable_user, set_key
from nanogpt_proxy.cli.verify import verify_privacy

__all__ = ["commands", "main"]


class _InThisOrder(click.Group):
    """Lists the commands as they are given, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


commands = _InThisOrder(
    NAME,
    commands=[
        serve,
        add_user,
        set_key,
        list_users,
        disable_user,
        enable_user,
        del_user,
        unbind,
        import_users,
        export_users,
        rotate_key,
        token,
        migrate,
        verify_privacy,
        healthcheck,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Each user of one Open WebUI pays for their own NanoGPT use.",
    epilog="Settings come from the environment and from .env.",
)
commands = click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")(
    commands
)


def main() -> None:
    """The command `nanogpt-proxy`."""
    sys.exit(run(commands, sys.argv[1:]))
