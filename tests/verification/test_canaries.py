"""Planted words are found again, whatever they were wrapped in."""

from __future__ import annotations

import base64
import json

import pytest

from nanogpt_proxy.verification.canaries import Canaries


@pytest.mark.parametrize("given", [False, True])
def test_a_word_is_found_in_any_disguise(given: bool) -> None:
    canaries = Canaries()
    word = canaries.add("here", "npt-Zx81qpWm") if given else canaries.new("here")
    canaries.new("elsewhere")
    raw = word.encode()
    wrapped = [
        raw,
        raw.upper(),
        raw.title(),
        "".join(f"%{byte:02x}" for byte in raw).encode(),
        "".join(f"\\u{byte:04X}" for byte in raw).encode(),
        json.dumps(word)[:4].encode() + f"\\u{raw[3]:04x}".encode() + raw[4:],
        word.encode("utf-16"),
        raw.hex().encode(),
        raw.hex().upper().encode(),
        *(base64.b64encode(b"x" * before + raw + b"yyy") for before in range(3)),
    ]
    for data in wrapped:
        assert canaries.found(b"before " + data + b" behind") == ["here"], data
    assert canaries.found(raw[:-1] + b" and others") == []
    assert len(canaries) == 2


def test_words_are_all_different() -> None:
    canaries = Canaries()
    assert len({canaries.new("a") for _ in range(100)}) == len(canaries) == 100
