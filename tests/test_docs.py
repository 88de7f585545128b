"""The documentation tells what the code does, and does not fall behind it."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import click
import pytest

import nanogpt_proxy
from nanogpt_proxy.cli import commands
from nanogpt_proxy.settings import LATER, SETTINGS
from scripts import docs

ROOT = docs.ROOT
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    if not path.is_relative_to(ROOT / ".venv")
)


def _read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_table_of_settings_is_current() -> None:
    page = docs.CONFIGURATION.read_text("utf-8")
    assert page == docs.configuration(page), "run: make docs"
    assert all(f"| `{row.name}` |" in page for row in SETTINGS)
    assert all(f"`{name}`" in page for name in LATER)


def test_the_example_file_is_current() -> None:
    assert _read(".env.example") == docs.example(), "run: make docs"


def test_the_changelog_knows_this_version() -> None:
    released = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", _read("CHANGELOG.md"), re.M)
    assert released[0] == nanogpt_proxy.__version__
    assert "## [Unreleased]" in _read("CHANGELOG.md")


def test_every_make_target_is_explained_and_listed() -> None:
    makefile = _read("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", makefile, re.M)
    assert targets == set(phony.split())
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in targets:
        assert re.search(rf"^  {target} +\S", shown.stdout, re.M), f"{target} has no ## line"


def test_every_command_is_documented() -> None:
    table = _read("docs/commands.md").partition("| command |")[2].partition("\n\n")[0]
    documented = re.findall(r"^\| `([a-z-]+)", table, re.M)
    assert documented == commands.list_commands(click.Context(commands))


def test_every_setting_of_open_webui_in_compose_is_explained() -> None:
    page = _read("docs/open-webui.md")
    open_webui = _read("compose.yaml").partition("\n  open-webui:\n")[2]
    names = re.findall(r"^      ([A-Z_]*(?:OPENAI_API_\w+|ENGINE|FORWARD\w+)): ", open_webui, re.M)
    assert len(names) > 10
    for name in names:
        assert f"`{name}=" in page or f"\n{name}=" in page, f"no word about {name}"


def test_every_dependency_has_its_reason() -> None:
    declared = re.findall(
        r'^    "([a-z-]+)[\[>]', _read("pyproject.toml").partition("scripts]")[0], re.M
    )
    reasons = _read("docs/architecture.md").partition("## Dependencies")[2].lower()
    assert declared
    for name in declared:
        assert f"| {name} |" in reasons, f"docs/architecture.md does not say why {name}"


def test_every_module_has_its_line() -> None:
    page = _read("docs/architecture.md")
    package = ROOT / "src" / "nanogpt_proxy"
    for path in package.iterdir():
        if path.suffix == ".py" and not path.stem.startswith("__"):
            assert f"`{path.stem}`" in page, f"docs/architecture.md has no line for {path.stem}"
        elif (path / "__init__.py").is_file():
            assert f"`{path.name}/`" in page, f"docs/architecture.md has no line for {path.name}"


def _promises() -> dict[str, list[tuple[str, str]]]:
    """The numbered promises, each with the tests it names: file and function."""
    items = re.split(r"^(\d+)\. ", _read("docs/behaviour.md"), flags=re.M)[1:]
    named = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
    return {
        number: named.findall(text) for number, text in zip(items[::2], items[1::2], strict=True)
    }


def test_promises_are_numbered_in_order() -> None:
    assert list(_promises()) == [str(n) for n in range(1, len(_promises()) + 1)]


@pytest.mark.parametrize(("number", "tests"), _promises().items())
def test_every_promise_names_tests_that_exist(number: str, tests: list[tuple[str, str]]) -> None:
    assert tests, f"promise {number} names no test"
    for file, function in tests:
        path = ROOT / file
        assert path.is_file(), f"promise {number}: there is no {file}"
        defined = ast.walk(ast.parse(path.read_text("utf-8")))
        names = {
            node.name
            for node in defined
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert function in names, f"promise {number}: {file} has no {function}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_relative_to(ROOT) and path.exists(), f"{target} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
            assert anchor in map(_anchor, headings), f"{target} names no heading"
