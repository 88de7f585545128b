"""Results on stdout, the rest on stderr."""

from __future__ import annotations

import pytest

from nanogpt_proxy.cli.output import error, hint, say, table


def test_each_has_its_stream(capsys: pytest.CaptureFixture[str]) -> None:
    say("result")
    error("wrong")
    hint("mend")
    out, err = capsys.readouterr()
    assert out == "result\n"
    assert err == "nanogpt-proxy: error: wrong\nnanogpt-proxy: hint: mend\n"


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert table(("A", "B"), [("long", "x"), ("", "")]) == "A     B\nlong  x\n"
