"""Names that stand for users: stable, keyed, and different for each use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy import pseudonyms
from nanogpt_proxy.errors import WrongMasterKey
from nanogpt_proxy.models import Account, Secret
from nanogpt_proxy.pseudonyms import Pseudonyms, open_pseudonyms
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault

VAULT = Vault(Secret("0123456789abcdef" * 4))
OTHER_VAULT = Vault(Secret("fedcba9876543210" * 4))
ONE, TWO = Secret("01" * 32), Secret("02" * 32)
ALICE = Account("1" * 32, "alice@example.com", False, None)
BOB = Account("2" * 32, "bob@example.com", False, None)


def made(log_key: Secret = ONE, tag_key: Secret = TWO, **settings: Any) -> Pseudonyms:
    return Pseudonyms(replace(Settings(), **settings), log_key, tag_key)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "proxy.db")
    yield store
    await store.close()


def test_the_log_has_a_name_that_is_always_the_same() -> None:
    names = made()
    name = names.logged(ALICE)
    assert len(name) == 16 and int(name, 16)
    assert name == names.logged(ALICE) == made().logged(replace(ALICE, email="moved@example.com"))
    assert len({name, names.logged(BOB), made(TWO).logged(ALICE), ALICE.id[:16]}) == 4


def test_the_log_shows_e_mails_where_that_is_wanted() -> None:
    assert made(log_users="email").logged(ALICE) == ALICE.email


def test_nanogpt_is_told_nothing_unless_it_is_wanted() -> None:
    assert made().tag(ALICE) is None


def test_a_tag_is_always_the_same_and_says_nothing_of_the_name_in_the_log() -> None:
    names = made(user_tag="hmac")
    tag = names.tag(ALICE)
    assert tag is not None and len(tag) == 32 and int(tag, 16)
    assert tag == names.tag(ALICE) == made(user_tag="hmac").tag(ALICE)
    assert len({tag, names.tag(BOB), made(ONE, ONE, user_tag="hmac").tag(ALICE)}) == 3
    assert not tag.decode().startswith(names.logged(ALICE))


def test_not_every_account_is_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "_MOST", 3)
    names = made(user_tag="hmac")
    for number in range(10):
        account = replace(ALICE, id=f"{number:032}")
        assert names.logged(account) == names.logged(account)
        assert names.tag(account) == names.tag(account)
    assert len(names._logged) <= 3 and len(names._tags) <= 3


async def test_the_keys_are_made_once_and_kept_sealed(store: Store) -> None:
    settings = replace(Settings(), user_tag="hmac")
    first = await open_pseudonyms(settings, store, VAULT)
    again = await open_pseudonyms(settings, store, VAULT)
    assert (first.logged(ALICE), first.tag(ALICE)) == (again.logged(ALICE), again.tag(ALICE))
    sealed = [await store.meta.get(name) for name in (pseudonyms.LOG_KEY, pseudonyms.TAG_KEY)]
    assert all(value and value.startswith("npk1.") for value in sealed)
    with pytest.raises(WrongMasterKey):
        await open_pseudonyms(settings, store, OTHER_VAULT)


async def test_each_database_has_keys_of_its_own(store: Store, tmp_path: Path) -> None:
    other = await Store.open(tmp_path / "other.db")
    names = [await open_pseudonyms(Settings(), each, VAULT) for each in (store, other)]
    await other.close()
    assert names[0].logged(ALICE) != names[1].logged(ALICE)
