"""The source tree keeps its own rules: tests mirror it, modules stay small and well named."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "nanogpt_proxy"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOREIGN = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _does_something(module: Path) -> bool:
    """Whether there is more in it than a docstring, imports and plain names such as `__all__`."""
    body = ast.parse(module.read_text("utf-8")).body
    said = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    return not all(isinstance(node, said) for node in body)


def _test_of(module: Path) -> Path:
    stem = "init" if module.stem == "__init__" else module.stem
    return ROOT / "tests" / module.relative_to(PACKAGE).with_name(f"test_{stem}.py")


@pytest.mark.parametrize("module", [m for m in MODULES if _does_something(m)], ids=_name)
def test_each_module_has_its_test_file(module: Path) -> None:
    # migrations are run and compared with the tables as a whole
    migration = "migrations" in module.parts
    path = _test_of(PACKAGE / "store" / "schema.py" if migration else module)
    assert path.is_file(), f"{_name(module)} has no {path.relative_to(ROOT)}"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_modules_and_functions_stay_small(module: Path) -> None:
    text = module.read_text("utf-8")
    assert text.count("\n") < 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1 if ast.get_docstring(node) and node.body[1:] else 0]
            lines = (node.end_lineno or 0) - first.lineno + 1  # a long signature is not long code
            assert lines < 40, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_modules_say_what_they_are_for(module: Path) -> None:
    assert module.stem not in FOREIGN
    assert ast.get_docstring(ast.parse(module.read_text("utf-8")))
