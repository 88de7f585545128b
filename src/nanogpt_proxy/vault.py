"""Seals API keys for the database and opens them; where the master key comes from.

A sealed key is ``npk1.<key id>.<base64url, no padding, of nonce + ciphertext + tag>``: AES-256-GCM
with a random nonce of 96 bits. The associated data holds the format, the key id and the owner, so
that a sealed key opens in its owner's row alone, and under the master key it names. There are no
options: another algorithm will be another format label.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nanogpt_proxy.errors import ConfigurationError, SealBroken, VaultError, WrongMasterKey
from nanogpt_proxy.models import Secret
from nanogpt_proxy.private_files import create_private, read_private

_FORMAT = "npk1"
_NONCE = 12
_TAG = 16
_MAX_PLAIN = 512  # as `models.clean_key`: a longer one was not sealed by us
_MASTER = re.compile(r"[0-9a-fA-F]{64}")
_SEALED = re.compile(r"npk1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)")

# Each use of the master key gets a key of its own, so that none says anything about another.
_SEAL_LABEL = b"nanogpt-proxy npk1 seal"
_ID_LABEL = b"nanogpt-proxy npk1 key id"

# An owner's id is hex digits, so that no account can be called like the check value.
_CHECK_OWNER = "check value"
_CHECK_PLAIN = Secret("nanogpt-proxy")

KEY_FILE = "encryption.key"


class Vault:
    """Holds the master key, and nothing that it opens."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, master: Secret) -> None:
        if not _MASTER.fullmatch(master.reveal()):
            raise VaultError("the encryption key is not 64 hex digits")
        key = bytes.fromhex(master.reveal())
        self._cipher = AESGCM(hmac.digest(key, _SEAL_LABEL, "sha256"))
        self.key_id = hmac.digest(key, _ID_LABEL, "sha256")[:4].hex()
        """Eight hex digits that tell master keys apart and nothing else about them."""

    def __repr__(self) -> str:
        return f"<Vault {self.key_id}>"

    def seal(self, plain: Secret, owner: str) -> str:
        """The key as it may lie in the database, in the row of the account with the id `owner`."""
        return self._seal(plain, owner, secrets.token_bytes(_NONCE))

    def open(self, sealed: str, owner: str) -> Secret:
        """Raises `WrongMasterKey` or `SealBroken`."""
        match = _SEALED.fullmatch(sealed)
        if match is None:
            raise SealBroken("a sealed key is damaged: it is not in the format of the proxy")
        key_id, body = match.groups()
        if key_id != self.key_id:
            raise WrongMasterKey(
                f"a key was sealed by the encryption key {key_id}, not by {self.key_id}"
            )
        raw = _decode(body)
        try:
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], self._bound_to(owner))
        except InvalidTag:
            raise SealBroken(
                "a sealed key is damaged: it was altered, or belongs to another user"
            ) from None
        return Secret(plain.decode())

    def check_value(self) -> str:
        """A sealed constant for the database: shows later whether the master key is the same."""
        return self.seal(_CHECK_PLAIN, _CHECK_OWNER)

    def verify(self, check: str) -> None:
        """Raises `WrongMasterKey` or `SealBroken` unless this master key made the check value."""
        if self.open(check, _CHECK_OWNER) != _CHECK_PLAIN:
            raise SealBroken("the check value of the database is not the one that the proxy writes")

    def _seal(self, plain: Secret, owner: str, nonce: bytes) -> str:
        data = plain.reveal().encode()
        if not 1 <= len(data) <= _MAX_PLAIN:
            raise VaultError(f"what is sealed has between 1 and {_MAX_PLAIN} bytes")
        raw = nonce + self._cipher.encrypt(nonce, data, self._bound_to(owner))
        return f"{_FORMAT}.{self.key_id}.{_encode(raw)}"

    def _bound_to(self, owner: str) -> bytes:
        # The first two have a fixed length: no two different pairs give the same bytes.
        return f"{_FORMAT}\0{self.key_id}\0{owner}".encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(body: str) -> bytes:
    """Strict: one text for one value, or flipping an unused bit would go unnoticed."""
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error:
        raw = b""
    if not 1 <= len(raw) - _NONCE - _TAG <= _MAX_PLAIN or _encode(raw) != body:
        raise SealBroken("a sealed key is damaged: it has been cut short or altered")
    return raw


def load_or_create_master(
    data_dir: Path, *, store_holds_keys: bool, given: Secret | None
) -> tuple[Secret, bool]:
    """The master key, and whether it was made just now (then its owner should back it up).

    `given` (from the settings) wins over the file in `data_dir`. A new one is made only for a
    store that holds nothing sealed: beside old keys it could open none of them, and would hide
    that the right one is lost. Raises `ConfigurationError`.
    """
    if given is not None:
        return given, False
    path = data_dir / KEY_FILE
    text = read_private(path)
    if text is not None:
        return _checked(text, path), False
    if store_holds_keys:
        raise ConfigurationError(
            [
                f"the database holds sealed keys, but there is no encryption key: put {path} back "
                "from your backup, or set DB_ENCRYPTION_KEY to the key it had"
            ]
        )
    created = create_private(path, secrets.token_hex(32))
    return _checked(read_private(path) or "", path), created


def _checked(text: str, path: Path) -> Secret:
    if not _MASTER.fullmatch(text):
        raise ConfigurationError(
            [
                f"{path} does not hold 64 hex digits: put the file back from your backup, or, if "
                "no user was ever added, delete it"
            ]
        )
    return Secret(text)
