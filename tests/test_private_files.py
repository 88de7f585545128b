"""Files with secrets: who may read them, and that a half-written one is never seen."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from nanogpt_proxy.private_files import (
    alone,
    create_private,
    others_may_read,
    private_directory,
    read_private,
    touch_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret"
    assert create_private(path, "text")
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert read_private(path) == "text"
    assert os.listdir(path.parent) == ["secret"]


def test_a_secret_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    assert not create_private(path, "new")
    assert read_private(path) == "old"
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.parametrize("there", [False, True])
def test_without_hard_links_it_is_still_exclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "secret"
    if there:
        path.write_text("old")
    assert create_private(path, "new") is not there
    assert read_private(path) == ("old" if there else "new")
    assert os.listdir(tmp_path) == ["secret"]


def test_of_many_that_create_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    won: list[str] = []

    def create(name: str) -> None:
        if create_private(path, name):
            won.append(name)

    threads = [threading.Thread(target=create, args=(f"text {n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [read_private(path)]


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert read_private(tmp_path / "nothing") is None


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_directory(tmp_path)
    assert mode(tmp_path) == 0o755


def test_touching_makes_a_private_file_and_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    touch_private(path)
    assert mode(path) == 0o600
    path.write_text("kept")
    touch_private(path)
    assert path.read_text() == "kept"


@pytest.mark.parametrize(("bits", "open_"), [(0o600, False), (0o400, False), (0o640, True)])
def test_a_file_that_others_may_read_is_noticed(tmp_path: Path, bits: int, open_: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(bits)
    assert others_may_read(path) is open_


def test_one_at_a_time_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    with alone(path) as first, alone(path) as second:
        assert (first, second) == (True, False)
    with alone(path) as again:
        assert again
    assert mode(path) == 0o600
