"""`verify-privacy`: shows what leaves the house, and that nobody's identity is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanogpt_proxy.cli.ending import FAILED
from nanogpt_proxy.cli.output import error, say

if TYPE_CHECKING:
    from nanogpt_proxy.verification import Finding

_MOST = 400  # characters of a body


@click.command("verify-privacy")
@click.option("--quiet", is_flag=True, help="Print only what is wrong, and the sums.")
def verify_privacy(quiet: bool) -> int:
    """Send planted names through the proxy and print all that would reach NanoGPT.

    Uses these settings with a throw-away database, key and token; NanoGPT is not asked.
    """
    from nanogpt_proxy import settings
    from nanogpt_proxy.verification import verify

    def tell(finding: Finding) -> None:
        if not quiet:
            _show(finding)
        for fault in finding.faults:
            error(f"{finding.what}: {fault}")

    verdict = verify(settings.load(), tell)
    say(f"{verdict.calls} calls with {verdict.canaries} planted words")
    if verdict.faults:
        error(f"{verdict.faults} faults")
        return FAILED
    say("none of the words left the house")
    return 0


def _show(finding: Finding) -> None:
    say(f"{finding.what}: answered {finding.status}")
    if not finding.sent:
        say("    nothing went up")
    for sent in finding.sent:
        lines = (sent.head or sent.raw[:_MOST]).decode("latin-1").splitlines()
        for line in filter(None, lines):
            say(f"    {line}")
        if sent.body:
            body = sent.body.decode("utf-8", "replace")
            more = f" … {len(sent.body)} bytes" if len(body) > _MOST else ""
            say(f"    {body[:_MOST]!r}{more}")
    say("")
