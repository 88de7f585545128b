"""How a command ends: every failure is a sentence and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import click

from nanogpt_proxy.cli.output import NAME, error, hint
from nanogpt_proxy.errors import ConfigurationError, ProxyError

FAILED = 1
WRONG_USAGE = 2


def run(command: click.Command, args: Sequence[str]) -> int:
    """Runs the command and returns the exit code of the process."""
    _never_fail_on_text()
    try:
        code = command.main(list(args), prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as wrong:
        click.echo(wrong.format_message(), err=True)
        return WRONG_USAGE
    except click.UsageError as wrong:
        error(wrong.format_message())
        path = wrong.ctx.command_path if wrong.ctx else NAME
        hint(f"`{path} --help` tells how to call it")
        return WRONG_USAGE
    except (click.Abort, KeyboardInterrupt):
        error("stopped before it was done")
        return FAILED
    except ProxyError as failure:
        return _tell(failure)
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does. Python flushes at exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except Exception as unexpected:
        return _admit(unexpected)


def _never_fail_on_text() -> None:
    """An e-mail that the terminal cannot show, or a key that is no text, is no reason to die."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        with contextlib.suppress(AttributeError):  # closed, or replaced by something simpler
            stream.reconfigure(errors=errors)  # type: ignore[union-attr]


def _tell(failure: ProxyError) -> int:
    problems = failure.problems if isinstance(failure, ConfigurationError) else [failure.message]
    for problem in problems:
        error(problem)
    if failure.hint:
        hint(failure.hint)
    return failure.exit_code


def _admit(unexpected: Exception) -> int:
    # Its text stays out: nobody can know what is in it.
    error(f"this should not have happened ({type(unexpected).__name__})")
    if _debugging():
        import traceback

        traceback.print_exception(unexpected)  # never with local variables, which may hold keys
    else:
        hint("set LOG_LEVEL=debug to see where")
    return FAILED


def _debugging() -> bool:
    from nanogpt_proxy import settings

    try:
        return settings.load().log_level == "debug"
    except ConfigurationError:
        return False
