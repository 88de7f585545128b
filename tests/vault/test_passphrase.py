"""What is sealed under a passphrase opens with it, beside what it was bound to."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nanogpt_proxy.errors import InvalidInput, SealBroken
from nanogpt_proxy.models import Secret
from nanogpt_proxy.vault.passphrase import open_sealed, seal

PLAIN, PHRASE, BOUND = Secret("the keys"), Secret("a long passphrase"), b"bound"
# Written down once. If this stops opening, so do the backups that people have.
FROZEN: dict[str, Any] = {
    "kdf": "scrypt",
    "n": 131072,
    "r": 8,
    "p": 1,
    "salt": "AAECAwQFBgcICQoLDA0ODw==",
    "cipher": "aes-256-gcm",
    "nonce": "AAECAwQFBgcICQoL",
    "sealed": "8Aq3y+peAlUPG5G+9L+LiWsuPRJBFIej",
}


def test_the_format_is_frozen() -> None:
    assert open_sealed(FROZEN, PHRASE, BOUND) == PLAIN
    assert seal(PLAIN, PHRASE, BOUND).keys() == FROZEN.keys()


def test_it_is_what_its_names_say() -> None:
    raw = {name: base64.b64decode(FROZEN[name]) for name in ("salt", "nonce", "sealed")}
    key = hashlib.scrypt(
        PHRASE.reveal().encode(), salt=raw["salt"], n=2**17, r=8, p=1, maxmem=2**28, dklen=32
    )
    assert AESGCM(key).decrypt(raw["nonce"], raw["sealed"], BOUND) == b"the keys"


def test_the_same_never_looks_the_same_twice() -> None:
    first, second = seal(PLAIN, PHRASE, BOUND), seal(PLAIN, PHRASE, BOUND)
    assert all(first[name] != second[name] for name in ("salt", "nonce", "sealed"))
    assert open_sealed(second, PHRASE, BOUND) == PLAIN


@pytest.mark.parametrize(
    ("phrase", "bound", "change"),
    [
        ("A long passphrase", BOUND, {}),
        ("a long passphrase", b"Bound", {}),
        ("a long passphrase", BOUND, {"sealed": FROZEN["sealed"][:-4]}),
        ("a long passphrase", BOUND, {"n": 2**16}),
        ("a long passphrase", BOUND, {"salt": FROZEN["nonce"]}),
    ],
)
def test_anything_else_does_not_open(phrase: str, bound: bytes, change: dict[str, Any]) -> None:
    with pytest.raises(SealBroken, match="the passphrase is wrong, or the file was altered"):
        open_sealed(FROZEN | change, Secret(phrase), bound)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2**30},
        {"n": 3},
        {"n": "131072"},
        {"n": True},
        {"n": 0},
        {"r": 800},
        {"p": 2},
        {"kdf": "argon2id"},
        {"cipher": "none"},
        {"cipher": ["aes-256-gcm"]},
    ],
)
def test_a_file_does_not_choose_the_cost(change: dict[str, Any]) -> None:
    with pytest.raises(SealBroken, match="does not know"):
        open_sealed(FROZEN | change, PHRASE, BOUND)


@pytest.mark.parametrize("change", [{"salt": "?"}, {"nonce": "AAAA"}, {"sealed": None}])
def test_damage_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(SealBroken, match="damaged"):
        open_sealed(FROZEN | change, PHRASE, BOUND)


def test_one_letter_may_be_written_in_two_ways() -> None:
    sealed = seal(PLAIN, Secret("Bäckerei am Markt"), BOUND)
    assert open_sealed(sealed, Secret("Ba\u0308ckerei am Markt"), BOUND) == PLAIN


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(InvalidInput, match="12"):
        seal(PLAIN, Secret("x" * 11), BOUND)
