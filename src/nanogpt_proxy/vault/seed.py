"""Opens what the earlier nanogpt-proxy has sealed: its `import` is the only use.

It wrote hex of AES-256-CTR with the SHA-256 of its secret as the key and a counter that begins at
zero for every user. That hides little and proves nothing, so nothing is ever sealed this way.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from nanogpt_proxy.errors import SealBroken
from nanogpt_proxy.models import Secret


def open_seed_key(sealed: str, secret: Secret) -> bytes:
    """What comes out under this secret; noise when it is the wrong one. Raises `SealBroken`."""
    try:
        raw = bytes.fromhex(sealed)
    except ValueError:
        raise SealBroken("a sealed key of the earlier nanogpt-proxy is not hex") from None
    key = hashlib.sha256(secret.reveal().encode()).digest()
    opener = Cipher(AES(key), CTR(bytes(16))).decryptor()
    return opener.update(raw) + opener.finalize()
