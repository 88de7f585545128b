"""What is sealed opens for its owner under its master key, and in no other way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import SealBroken, VaultError, WrongMasterKey
from nanogpt_proxy.models import Secret
from nanogpt_proxy.vault import Vault, key_id_of

MASTER = Secret("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
OTHER = Secret("f" * 63 + "e")
OWNER = "0123456789abcdef0123456789abcdef"
KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")

# Written down once. If one of these stops opening, so do the databases that people have.
VECTORS = [
    (
        OWNER,
        KEY.reveal(),
        "npk1.23a18619.AAECAwQFBgcICQoLhYou5_r1pF4kAKBrOcqU3I9zRmv7rDGP0yupZBJxfz8MTXZZFVn7F7OUXPlH9E4RD49iNvPz9x29v2-o",
    ),
    ("f" * 32, "x", "npk1.23a18619.AAECAwQFBgcICQoLjr3-9uptiC2jtr-EZH-RoXA"),
]
CHECK_VALUE = "npk1.23a18619._yJ_uDKu9UcioZHZIacn_nUPcPiymvVyADoktZvVYd8rzIQYaFdvy78"


@pytest.mark.parametrize(("owner", "plain", "sealed"), VECTORS)
def test_the_format_is_frozen(owner: str, plain: str, sealed: str) -> None:
    vault = Vault(MASTER)
    assert vault.open(sealed, owner).reveal() == plain
    nonce = bytes(range(12))
    assert vault._seal(Secret(plain), owner, nonce) == sealed


def test_the_check_value_is_frozen() -> None:
    Vault(MASTER).verify(CHECK_VALUE)


def test_the_key_id_tells_master_keys_apart() -> None:
    assert Vault(MASTER).key_id == "23a18619"
    assert Vault(OTHER).key_id != "23a18619"


def test_upper_case_hex_is_the_same_master_key() -> None:
    sealed = Vault(MASTER).seal(KEY, OWNER)
    assert Vault(Secret(MASTER.reveal().upper())).open(sealed, OWNER) == KEY


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=512))
def test_what_is_sealed_opens_again(text: str) -> None:
    vault = Vault(MASTER)
    assert vault.open(vault.seal(Secret(text), OWNER), OWNER) == Secret(text)


def test_the_same_key_never_looks_the_same_twice() -> None:
    vault = Vault(MASTER)
    assert vault.seal(KEY, OWNER) != vault.seal(KEY, OWNER)


def test_any_flipped_bit_is_noticed() -> None:
    vault = Vault(MASTER)
    sealed = vault.seal(KEY, OWNER).encode()
    for place in range(len(sealed)):
        for bit in range(8):
            broken = bytearray(sealed)
            broken[place] ^= 1 << bit
            with pytest.raises((SealBroken, WrongMasterKey)):
                vault.open(broken.decode("latin-1"), OWNER)


def test_any_cut_is_noticed() -> None:
    vault = Vault(MASTER)
    sealed = vault.seal(KEY, OWNER)
    for end in range(len(sealed)):
        with pytest.raises(SealBroken):
            vault.open(sealed[:end], OWNER)


@pytest.mark.parametrize("more", ["A", "AAAA", "=", ".", "\n", " "])
def test_anything_added_is_noticed(more: str) -> None:
    vault = Vault(MASTER)
    with pytest.raises(SealBroken):
        vault.open(vault.seal(KEY, OWNER) + more, OWNER)


def test_a_key_in_another_users_row_does_not_open() -> None:
    vault = Vault(MASTER)
    with pytest.raises(SealBroken, match="another user"):
        vault.open(vault.seal(KEY, OWNER), "f" * 32)


def test_another_master_key_is_named_as_the_reason() -> None:
    with pytest.raises(WrongMasterKey, match=Vault(MASTER).key_id):
        Vault(OTHER).open(Vault(MASTER).seal(KEY, OWNER), OWNER)


def test_a_forged_key_id_does_not_help() -> None:
    sealed = Vault(MASTER).seal(KEY, OWNER)
    forged = sealed.replace(Vault(MASTER).key_id, Vault(OTHER).key_id)
    with pytest.raises(SealBroken):
        Vault(OTHER).open(forged, OWNER)


@pytest.mark.parametrize("size", [0, 513])
def test_only_sizes_that_a_key_can_have_are_sealed(size: int) -> None:
    with pytest.raises(VaultError, match="512"):
        Vault(MASTER).seal(Secret("x" * size), OWNER)


def test_an_oversized_seal_is_refused_before_it_is_opened() -> None:
    with pytest.raises(SealBroken):
        Vault(MASTER).open(f"npk1.{Vault(MASTER).key_id}.{'A' * 4000}", OWNER)


def test_the_check_value_knows_its_master_key() -> None:
    check = Vault(MASTER).check_value()
    Vault(MASTER).verify(check)
    with pytest.raises(WrongMasterKey):
        Vault(OTHER).verify(check)


def test_a_users_key_cannot_stand_in_for_the_check_value() -> None:
    vault = Vault(MASTER)
    with pytest.raises(SealBroken):
        vault.verify(vault.seal(Secret("nanogpt-proxy"), OWNER))
    with pytest.raises(SealBroken):
        vault.verify(vault.seal(Secret("something else"), "check value"))


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"])
def test_a_master_key_has_64_hex_digits(text: str) -> None:
    with pytest.raises(VaultError, match="64 hex"):
        Vault(Secret(text))


def test_neither_key_shows_in_what_python_prints() -> None:
    vault = Vault(MASTER)
    assert repr(vault) == f"<Vault {vault.key_id}>"
    assert not hasattr(vault, "__dict__")
    for owner in (OWNER, "f" * 32):
        try:
            assert KEY.reveal() not in repr(vault.open(vault.seal(KEY, OWNER), owner))
        except SealBroken as error:
            assert KEY.reveal() not in repr(error)


def test_other_keys_open_and_one_seals() -> None:
    vault = Vault(MASTER, also=[OTHER])
    old = Vault(OTHER).seal(KEY, OWNER)
    assert vault.open(old, OWNER) == KEY
    assert key_id_of(old) != key_id_of(vault.seal(KEY, OWNER)) == vault.key_id
    vault.use(Vault(OTHER).key_id)
    assert Vault(OTHER).open(vault.seal(KEY, OWNER), OWNER) == KEY


def test_a_key_that_is_not_at_hand_cannot_seal() -> None:
    with pytest.raises(WrongMasterKey):
        Vault(MASTER).use(Vault(OTHER).key_id)


def test_an_unknown_key_id_makes_it_read_the_keys_again() -> None:
    files: list[Secret] = []
    vault = Vault(MASTER, reread=lambda: files)
    sealed = Vault(OTHER).seal(KEY, OWNER)
    with pytest.raises(WrongMasterKey):
        vault.open(sealed, OWNER)
    files.append(OTHER)
    assert vault.open(sealed, OWNER) == KEY
    assert vault.key_id == Vault(MASTER).key_id
