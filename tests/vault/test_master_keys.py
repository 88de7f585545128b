"""Which master keys there are, and how one takes the place of another."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.vault import Vault, master_keys
from nanogpt_proxy.vault.master_keys import KEY_FILE, NEXT_KEY_FILE, MasterKeys

MASTER = Secret("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
OTHER = Secret("f" * 63 + "e")


def load(
    data: Path, holds: bool, given: Secret | None = None, previous: Secret | None = None
) -> MasterKeys:
    settings = replace(
        Settings(), data_dir=data, db_encryption_key=given, db_encryption_key_previous=previous
    )
    return master_keys.load_or_create(settings, store_holds_keys=holds)


def test_the_first_start_makes_a_master_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = load(data, False)
    assert made.created
    Vault(made.current).verify(Vault(made.current).check_value())
    assert stat.S_IMODE((data / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert load(data, True) == MasterKeys(made.current)


def test_a_store_with_keys_gets_no_new_master_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="backup"):
        load(tmp_path, True)
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize("holds", [False, True])
def test_a_given_master_key_wins_and_makes_no_file(tmp_path: Path, holds: bool) -> None:
    assert load(tmp_path, holds, MASTER) == MasterKeys(MASTER)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / KEY_FILE).write_text(OTHER.reveal())
    assert load(tmp_path, holds, MASTER) == MasterKeys(MASTER)
    assert load(tmp_path, holds, MASTER, OTHER) == MasterKeys(MASTER, (OTHER,))


@pytest.mark.parametrize("text", ["", "short", "x" * 64, "é" * 64])
def test_a_damaged_key_file_is_named_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match="64 hex digits") as caught:
        load(tmp_path, False)
    assert str(tmp_path / KEY_FILE) in str(caught.value)
    assert (tmp_path / KEY_FILE).read_text() == text


def test_two_first_starts_at_once_share_one_key(tmp_path: Path) -> None:
    found: list[MasterKeys] = []
    threads = [
        threading.Thread(target=lambda: found.append(load(tmp_path, False))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys.current for keys in found}) == 1
    assert sum(keys.created for keys in found) == 1


def test_the_next_key_opens_too_and_takes_the_place(tmp_path: Path) -> None:
    first = load(tmp_path, False).current
    following = master_keys.make_next_key(tmp_path)
    assert stat.S_IMODE((tmp_path / NEXT_KEY_FILE).stat().st_mode) == 0o600
    assert load(tmp_path, True) == MasterKeys(first, (following,))
    assert master_keys.reread(replace(Settings(), data_dir=tmp_path)) == (first, following)
    master_keys.promote_next_key(tmp_path)
    assert load(tmp_path, True) == MasterKeys(following)
    assert master_keys.reread(replace(Settings(), data_dir=tmp_path)) == (following,)
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("text", ["", "01234567"])
def test_a_next_key_half_written_is_none(tmp_path: Path, text: str) -> None:
    first = load(tmp_path, False).current
    (tmp_path / NEXT_KEY_FILE).write_text(text)
    assert load(tmp_path, True) == MasterKeys(first)
    made = master_keys.make_next_key(tmp_path)
    assert master_keys.next_key(tmp_path) == made


def test_settings_that_give_the_key_are_not_read_again(tmp_path: Path) -> None:
    load(tmp_path, False)
    settings = replace(Settings(), data_dir=tmp_path, db_encryption_key=MASTER)
    assert master_keys.reread(settings) == ()
