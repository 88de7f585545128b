"""Seals API keys for the database and opens them.

A sealed key is ``npk1.<key id>.<base64url, no padding, of nonce + ciphertext + tag>``: AES-256-GCM
with a random nonce of 96 bits. The associated data holds the format, the key id and the owner, so
that a sealed key opens in its owner's row alone, and under the master key it names. There are no
options: another algorithm will be another format label. Where master keys come from is in
`master_keys`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable, Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nanogpt_proxy.errors import SealBroken, VaultError, WrongMasterKey
from nanogpt_proxy.models import Secret

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


def key_id_of(sealed: str) -> str:
    """Which master key sealed this. Raises `SealBroken`."""
    return _parts(sealed)[0]


class Vault:
    """Holds the master keys, and nothing that they open.

    One key seals. While keys are being changed there are others, which only open.
    """

    __slots__ = ("_ciphers", "_reread", "key_id")

    def __init__(
        self,
        master: Secret,
        *,
        also: Iterable[Secret] = (),
        reread: Callable[[], Iterable[Secret]] = tuple,
    ) -> None:
        """`reread` gives the master keys of this moment; asked when an unknown one is met."""
        self._ciphers: dict[str, AESGCM] = {}
        self._reread = reread
        self.key_id = self.add(master)
        """Eight hex digits that tell master keys apart and nothing else about them."""
        for other in also:
            self.add(other)

    def __repr__(self) -> str:
        return f"<Vault {self.key_id}>"

    def add(self, master: Secret) -> str:
        """Opens what this key has sealed too; its id."""
        if not _MASTER.fullmatch(master.reveal()):
            raise VaultError("the encryption key is not 64 hex digits")
        key = bytes.fromhex(master.reveal())
        key_id = hmac.digest(key, _ID_LABEL, "sha256")[:4].hex()
        if key_id not in self._ciphers:
            self._ciphers[key_id] = AESGCM(hmac.digest(key, _SEAL_LABEL, "sha256"))
        return key_id

    def holds(self, key_id: str) -> bool:
        """Whether this master key is at hand, now that it is asked for."""
        if key_id not in self._ciphers:
            for master in self._reread():
                self.add(master)
        return key_id in self._ciphers

    def use(self, key_id: str) -> None:
        """Seals with this one of its keys from now on. Raises `WrongMasterKey`."""
        if not self.holds(key_id):
            raise self._unknown(key_id)
        self.key_id = key_id

    def seal(self, plain: Secret, owner: str) -> str:
        """The key as it may lie in the database, in the row of the account with the id `owner`."""
        return self._seal(plain, owner, secrets.token_bytes(_NONCE))

    def open(self, sealed: str, owner: str) -> Secret:
        """Raises `WrongMasterKey` or `SealBroken`."""
        key_id, body = _parts(sealed)
        if not self.holds(key_id):
            raise self._unknown(key_id)
        raw = _decode(body)
        try:
            bound = _bound_to(key_id, owner)
            plain = self._ciphers[key_id].decrypt(raw[:_NONCE], raw[_NONCE:], bound)
        except InvalidTag:
            raise SealBroken(
                "a sealed key is damaged: it was altered, or belongs to another user"
            ) from None
        return Secret(plain.decode())

    def check_value(self) -> str:
        """A sealed constant for the database: shows later whether the master key is the same."""
        return self.seal(_CHECK_PLAIN, _CHECK_OWNER)

    def verify(self, check: str) -> None:
        """Raises `WrongMasterKey` or `SealBroken` unless a key of ours made the check value."""
        if self.open(check, _CHECK_OWNER) != _CHECK_PLAIN:
            raise SealBroken("the check value of the database is not the one that the proxy writes")

    def _seal(self, plain: Secret, owner: str, nonce: bytes) -> str:
        data = plain.reveal().encode()
        if not 1 <= len(data) <= _MAX_PLAIN:
            raise VaultError(f"what is sealed has between 1 and {_MAX_PLAIN} bytes")
        cipher = self._ciphers[self.key_id]
        raw = nonce + cipher.encrypt(nonce, data, _bound_to(self.key_id, owner))
        return f"{_FORMAT}.{self.key_id}.{_encode(raw)}"

    def _unknown(self, key_id: str) -> WrongMasterKey:
        return WrongMasterKey(
            f"a key was sealed by the encryption key {key_id}, not by {self.key_id}"
        )


def _bound_to(key_id: str, owner: str) -> bytes:
    # The first two have a fixed length: no two different pairs give the same bytes.
    return f"{_FORMAT}\0{key_id}\0{owner}".encode()


def _parts(sealed: str) -> tuple[str, str]:
    """The id of its master key, and the rest."""
    match = _SEALED.fullmatch(sealed)
    if match is None:
        raise SealBroken("a sealed key is damaged: it is not in the format of the proxy")
    return match[1], match[2]


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
