"""What the earlier nanogpt-proxy has sealed opens with its secret."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import SealBroken
from nanogpt_proxy.models import Secret
from nanogpt_proxy.vault.seed import open_seed_key

KEY = b"sk-nano-01234567-89ab-cdef-0123-456789abcdef"
# made by `openssl enc -aes-256-ctr` with the SHA-256 of the secret and an IV of zeros
SEALED = "fcdd2e99814b62df4d483e492dae7387698805810baefe617b674c8304d107c4c65c911ccf1eb0e7126d2270"


def test_what_openssl_sealed_opens() -> None:
    assert open_seed_key(SEALED, Secret("correct horse")) == KEY
    assert open_seed_key("", Secret("correct horse")) == b""


def test_another_secret_gives_noise() -> None:
    assert open_seed_key(SEALED, Secret("correct horse ")) != KEY


@pytest.mark.parametrize("text", ["xyz", "abc", "sk-nano-01234567"])
def test_what_is_not_hex_is_refused(text: str) -> None:
    with pytest.raises(SealBroken, match="hex"):
        open_seed_key(text, Secret("correct horse"))
