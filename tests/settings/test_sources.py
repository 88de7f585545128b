from __future__ import annotations

from pathlib import Path

import pytest

from nanogpt_proxy.settings.parse import Unusable
from nanogpt_proxy.settings.sources import Said, Sources


def _text(said: Said | None) -> str | None:
    return None if said is None else said.text


def test_the_environment_wins_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\nexport C='quoted # text'\nD\nE=\n")
    sources = Sources.read({"A": "environment", "B": ""}, tmp_path, None)
    assert sources.problems == ()
    found = {name: _text(sources.find(name)) for name in "ABCDE"}
    assert found == {
        "A": "environment",
        "B": "file",
        "C": "quoted # text",
        "D": None,
        "E": None,
    }


def test_a_dollar_sign_in_the_env_file_is_just_that(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=x${HOME}$y\n")
    assert _text(Sources.read({"HOME": "z"}, tmp_path, None).find("A")) == "x${HOME}$y"


def test_the_env_file_of_the_checkout_is_second_choice(tmp_path: Path) -> None:
    cwd, checkout = tmp_path / "cwd", tmp_path / "checkout"
    cwd.mkdir()
    checkout.mkdir()
    (checkout / ".env").write_text("A=checkout\n")
    said = Sources.read({}, cwd, checkout).find("A")
    assert said is not None
    assert (said.text, said.base) == ("checkout", checkout)
    assert said.where == f"A in {checkout / '.env'}"
    (cwd / ".env").write_text("")
    assert Sources.read({}, cwd, checkout).find("A") is None


def test_lines_that_are_no_setting_are_reported_without_their_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# fine\nA=1\nthis is hunter2\nB='open\n")
    problems = Sources.read({}, tmp_path, None).problems
    assert [problem.split(": ")[1].split(" is")[0] for problem in problems] == ["line 3", "line 4"]
    assert "hunter2" not in str(problems)


def test_a_byte_order_mark_is_forgiven_and_another_encoding_is_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfA=1\n")
    assert _text(Sources.read({}, tmp_path, None).find("A")) == "1"
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    (problem,) = Sources.read({}, tmp_path, None).problems
    assert "is not UTF-8" in problem


def test_an_env_file_that_cannot_be_read_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    (problem,) = Sources.read({}, tmp_path, None).problems
    assert problem.endswith(".env: cannot be read (Permission denied); mend its permissions")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" secret \n", " secret "),
    ],
)
def test_a_twin_gives_its_files_text_less_one_newline(
    tmp_path: Path, content: bytes, value: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    sources = Sources.read({"A_FILE": "secret"}, tmp_path, None)
    assert _text(sources.find("A")) == value


def test_a_value_and_its_twin_together_are_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A_FILE=secret\n")
    with pytest.raises(Unusable, match="A: A_FILE is set too; keep one of the two"):
        Sources.read({"A": "1"}, tmp_path, None).find("A")


def test_an_empty_twin_counts_as_unset(tmp_path: Path) -> None:
    assert _text(Sources.read({"A": "1", "A_FILE": ""}, tmp_path, None).find("A")) == "1"


def test_a_twins_path_counts_from_where_it_was_written(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / ".env").write_text("A_FILE=secret\n")
    (checkout / "secret").write_text("found")
    assert _text(Sources.read({}, tmp_path, checkout).find("A")) == "found"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * 65537, "more than 64 KiB"),
    ],
)
def test_a_twin_that_gives_nothing_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(Unusable, match=f"A_FILE: its file .*{reason}"):
        Sources.read({"A_FILE": "secret"}, tmp_path, None).find("A")


def test_a_second_spelling_is_used_when_the_first_is_unset(tmp_path: Path) -> None:
    sources = Sources.read({"A": "first", "a": "second", "b": "lower"}, tmp_path, None)
    assert _text(sources.find("A", "a")) == "first"
    assert _text(sources.find("B", "b")) == "lower"
