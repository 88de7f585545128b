"""Seals the keys of an export under a passphrase: scrypt, then AES-256-GCM.

The costs of scrypt are written beside what is sealed, so that a later release may raise them.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nanogpt_proxy.errors import InvalidInput, SealBroken
from nanogpt_proxy.models import Secret

SHORTEST = 12
_COST, _BLOCK, _LANES = 2**17, 8, 1  # 128 MiB and some tenths of a second for each guess
_HIGHEST_COST = 2**20  # a file must not make us take more than a gigabyte
_SALT = 16
_NONCE = 12


def seal(plain: Secret, passphrase: Secret, bound_to: bytes) -> dict[str, Any]:
    """What to write; it opens only beside the same `bound_to`. Raises `InvalidInput`."""
    if len(passphrase.reveal()) < SHORTEST:
        raise InvalidInput(f"a passphrase has at least {SHORTEST} characters")
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    cipher = AESGCM(_derive(passphrase, salt, _COST))
    return {
        "kdf": "scrypt",
        "n": _COST,
        "r": _BLOCK,
        "p": _LANES,
        "salt": _text(salt),
        "cipher": "aes-256-gcm",
        "nonce": _text(nonce),
        "sealed": _text(cipher.encrypt(nonce, plain.reveal().encode(), bound_to)),
    }


def open_sealed(sealed: Mapping[str, Any], passphrase: Secret, bound_to: bytes) -> Secret:
    """Raises `SealBroken`."""
    names = ("kdf", "cipher", "r", "p")
    if tuple(sealed.get(name) for name in names) != ("scrypt", "aes-256-gcm", _BLOCK, _LANES):
        raise SealBroken("the keys are sealed in a way that this release does not know")
    cost = sealed.get("n")
    if type(cost) is not int or not 2 <= cost <= _HIGHEST_COST or cost & (cost - 1):
        raise SealBroken("the keys are sealed in a way that this release does not know")
    salt, nonce, body = (_raw(sealed.get(name)) for name in ("salt", "nonce", "sealed"))
    if len(nonce) != _NONCE:
        raise SealBroken("the sealed keys are damaged")
    try:
        plain = AESGCM(_derive(passphrase, salt, cost)).decrypt(nonce, body, bound_to)
    except InvalidTag:
        raise SealBroken("the passphrase is wrong, or the file was altered") from None
    return Secret(plain.decode())


def _derive(passphrase: Secret, salt: bytes, cost: int) -> bytes:
    # Keyboards disagree on how to write one and the same letter.
    text = unicodedata.normalize("NFC", passphrase.reveal()).encode()
    return Scrypt(salt=salt, length=32, n=cost, r=_BLOCK, p=_LANES).derive(text)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise SealBroken("the sealed keys are damaged") from None
