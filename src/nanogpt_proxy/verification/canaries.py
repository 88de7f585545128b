"""Words that must not leave the house, and how to find them in what did."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

_escape = re.compile(rb"\\u00([0-9a-fA-F]{2})")


_KIND = b"canary"  # how all new words begin, so that one look tells whether there may be one
_words = re.compile(_KIND + rb"[0-9a-f]{16}").findall


class Canaries:
    """Each stands for one place of a call, by which it is told apart."""

    def __init__(self) -> None:
        self._places: dict[bytes, str] = {}
        self._given_places: dict[bytes, str] = {}
        self._shapes: list[tuple[bytes, str]] = []
        self._given: list[tuple[bytes, str]] = []

    def __len__(self) -> int:
        return len(self._places)

    def new(self, place: str) -> str:
        """A word for this place: letters and digits, so that no coding changes its looks."""
        word = _KIND + secrets.token_hex(8).encode()
        self._places[word] = place
        self._shapes += [(shape, place) for shape in _disguises(word)]
        return word.decode()

    def add(self, place: str, word: str) -> str:
        """A given word, for places that take no other."""
        raw = word.encode()
        self._places[raw.lower()] = self._given_places[raw.lower()] = place
        self._given += [(shape, place) for shape in _disguises(raw)]
        return word

    def found(self, data: bytes) -> list[str]:
        """The places whose words are in it, plain or in disguise."""
        found = {place for shape, place in self._given if shape in data}
        if any(shape in data for shape in _DISGUISED):
            found |= {place for shape, place in self._shapes if shape in data}
        for text in _readings(data):
            lower = text.lower()
            found |= {place for word, place in self._given_places.items() if word in lower}
            found |= {self._places[word] for word in _words(lower) if word in self._places}
        return sorted(found)


def _readings(data: bytes) -> Iterable[bytes]:
    yield data
    yield unquote_to_bytes(data)
    yield _escape.sub(lambda match: bytes.fromhex(match[1].decode()), data)
    yield data.replace(b"\0", b"")  # UTF-16 and UTF-32


def _disguises(word: bytes) -> Iterable[bytes]:
    yield binascii.hexlify(word)
    yield binascii.hexlify(word).upper()
    for before in range(3):  # base64 has three alignments; the ends depend on the neighbours
        coded = base64.b64encode(b"\0" * before + word)
        yield coded[4 if before else 0 : -4]


_DISGUISED = tuple(shape for shape in _disguises(_KIND) if shape)
