"""Reads an API key: hidden from a terminal, else from stdin; as an argument with a warning."""

from __future__ import annotations

import sys

import click

from nanogpt_proxy.cli.output import hint
from nanogpt_proxy.models import Secret, clean_key, is_usual_key

_LONGEST = 4096


def read_key(argument: str | None, email: str) -> Secret:
    """Raises `InvalidKey`. Does not repeat what was typed, whatever it was."""
    if argument is not None:
        hint("the shell keeps this key in its history; leave it out to be asked for it")
        text = argument
    elif sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt(
            f"NanoGPT API key of {email}",
            default="",
            show_default=False,
            hide_input=True,
            err=True,
        )
    else:
        text = "" if sys.stdin is None else sys.stdin.readline(_LONGEST)
    key = clean_key(text)
    if not is_usual_key(key):
        hint("this does not look like a NanoGPT key (sk-nano-…); it is kept as it is")
    return key
