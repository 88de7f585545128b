"""Reads secrets: hidden from a terminal, else from stdin; an API key as an argument too."""

from __future__ import annotations

import sys

import click

from nanogpt_proxy.cli.output import hint
from nanogpt_proxy.errors import InvalidInput
from nanogpt_proxy.models import Secret, clean_key, is_usual_key

_LONGEST = 4096
_STDIN = "-"


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


def read_secret(what: str, file: str | None, *, twice: bool = False) -> Secret:
    """From the file, where `-` is stdin; else hidden from a terminal, else a line of stdin.

    `twice`: a typing error would only be noticed when it is too late. Raises `InvalidInput`.
    """
    if file is not None and file != _STDIN:
        text = _first_line(what, file)
    elif file is None and sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt(
            what,
            hide_input=True,
            err=True,
            default="",
            show_default=False,
            confirmation_prompt=twice,
        )
    else:
        text = "" if sys.stdin is None else sys.stdin.readline(_LONGEST).rstrip("\r\n")
    if not text:
        raise InvalidInput(f"{what}: nothing was given")
    return Secret(text)


def _first_line(what: str, file: str) -> str:
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.readline(_LONGEST).rstrip("\r\n")
    except OSError as failure:
        raise InvalidInput(f"{what}: its file cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{what}: its file is not UTF-8 text") from None
