"""Writes what documentation takes from the code: `make docs`. A test checks that it is current."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from nanogpt_proxy.settings import SETTINGS, Setting

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / ".env.example"

_BEGIN, _END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->\n"

_EXAMPLE_HEAD = """\
# Settings of nanogpt-proxy. Copy the lines you need to .env; what is here is what holds without.
# `make env` writes a .env with fresh secrets. docs/configuration.md tells more.
# Each NAME can be given as NAME_FILE too: the path of a file that holds the value.
"""


def table() -> str:
    """The settings as a Markdown table."""
    rows = ["| name | default | meaning |", "|---|---|---|"]
    rows += [f"| `{row.name}` | {_default(row)} | {row.help} |" for row in SETTINGS]
    return "\n".join(rows) + "\n"


def _default(row: Setting) -> str:
    return f"`{row.default_text}`" if row.default_text else "none"


def configuration(page: str) -> str:
    """The page with the table of today between its two marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table()}{_END}{after}"


def example() -> str:
    """The text of .env.example: every setting, none set."""
    blocks = [_EXAMPLE_HEAD]
    for row in SETTINGS:
        help = textwrap.fill(re.sub("`", "", row.help), 96, break_on_hyphens=False)
        blocks.append(textwrap.indent(help, "# ") + f"\n#{row.name}={row.default_text}\n")
    return "\n".join(blocks)


def main() -> None:
    CONFIGURATION.write_text(configuration(CONFIGURATION.read_text("utf-8")), "utf-8")
    EXAMPLE.write_text(example(), "utf-8")


if __name__ == "__main__":
    main()
