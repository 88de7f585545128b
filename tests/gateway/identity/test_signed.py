"""Tokens: a truth table of what is believed, and when."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.identity.asker import Asker
from nanogpt_proxy.gateway.identity.signed import LEEWAY, LONGEST, Signatures
from nanogpt_proxy.models import Secret
from tests.gateway.identity.minting import NOW, PREVIOUS, SECRET, b64, mint

ALICE = Asker("alice@example.com", "user-1", "user")
INVALID, EXPIRED = "identity_invalid", "identity_expired"


@pytest.fixture
def signatures() -> Signatures:
    return Signatures([Secret(SECRET), Secret(PREVIOUS)])


def code_of(signatures: Signatures, token: str | bytes, now: float = NOW) -> str:
    with pytest.raises(Refusal) as caught:
        signatures.verify(token.encode() if isinstance(token, str) else token, now)
    assert caught.value.status == 401
    assert SECRET not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("secret", [SECRET, PREVIOUS])
def test_a_token_of_either_secret_names_the_user(signatures: Signatures, secret: str) -> None:
    assert signatures.verify(mint(secret).encode(), NOW) == ALICE


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (-LEEWAY - 1, INVALID),
        (-LEEWAY, None),
        (0, None),
        (300 + LEEWAY - 1, None),
        (300 + LEEWAY, EXPIRED),
        (10**9, EXPIRED),
    ],
)
@pytest.mark.parametrize("remembered", [False, True])
def test_it_counts_from_iat_to_exp_with_some_leeway(
    signatures: Signatures, seconds: int, code: str | None, remembered: bool
) -> None:
    token = mint().encode()
    if remembered:
        signatures.verify(token, NOW)
    if code is None:
        assert signatures.verify(token, NOW + seconds) == ALICE
    else:
        assert code_of(signatures, token, NOW + seconds) == code


FORGED: list[tuple[str, dict[str, Any]]] = [
    ("another secret", {"secret": "somebody else's secret, which is long enough"}),
    ("empty secret", {"secret": ""}),
    ("half the secret", {"secret": SECRET[:32]}),
    ("alg none", {"header": {"alg": "none"}}),
    ("alg None", {"header": {"alg": "None"}}),
    ("alg missing", {"header": {"typ": "JWT"}}),
    ("alg null", {"header": {"alg": None}}),
    ("alg a list", {"header": {"alg": ["HS256"]}}),
    ("alg hs256", {"header": {"alg": "hs256"}}),
    ("alg HS384", {"header": {"alg": "HS384"}}),
    ("alg HS512", {"header": {"alg": "HS512"}}),
    ("alg RS256", {"header": {"alg": "RS256"}}),
    ("alg ES256", {"header": {"alg": "ES256"}}),
    ("header a list", {"header": ["HS256"]}),
    ("header a string", {"header": "HS256"}),
    ("crit", {"header": {"alg": "HS256", "crit": ["exp"], "exp": 1}}),
    ("unknown, deep header", {"header": {"alg": "HS256", "x": eval("[" * 90 + "]" * 90)}}),  # noqa: S307
]


@pytest.mark.parametrize(("name", "forged"), FORGED, ids=[name for name, _ in FORGED])
def test_what_is_not_signed_by_hs256_and_the_secret_is_refused(
    signatures: Signatures, name: str, forged: dict[str, Any]
) -> None:
    for _ in range(2):  # a refusal is not remembered as an answer
        assert code_of(signatures, mint(**forged)) == INVALID


SHAPES = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    mint()[:-1],
    mint() + "x",
    mint() + ".",
    mint() + ", " + mint(),
    mint().rpartition(".")[0],
    mint().rpartition(".")[0] + ".",
    "Bearer " + mint(),
    mint().replace(".", "..", 1),
    b64(b"[" * 2900) + "." + b64(b"{}") + ".x",
    "\u00e9." + mint(),
]


@pytest.mark.parametrize("token", SHAPES)
def test_what_is_no_token_is_refused(signatures: Signatures, token: str) -> None:
    assert code_of(signatures, token) == INVALID


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(token: bytes) -> None:
    signatures = Signatures([Secret(SECRET)])
    code_of(signatures, token)
    code_of(signatures, mint().encode() + token[:1] + b"x")


CLAIMS: list[dict[str, Any]] = [
    *({name: ...} for name in ("sub", "email", "role", "iss", "iat", "exp")),
    *({name: ""} for name in ("sub", "email", "role", "iss")),
    *({name: "  "} for name in ("sub", "email", "role")),
    *({name: ["alice@example.com"]} for name in ("sub", "email", "role", "iss")),
    *({name: None} for name in ("sub", "email", "role", "iss", "iat", "exp")),
    *({name: 1} for name in ("sub", "email", "role", "iss")),
    *({name: "x@y\r\nX-Admin: 1"} for name in ("sub", "email", "role")),
    *({name: "a@b\r\n"} for name in ("sub", "email", "role")),
    *({name: "a@b\x00"} for name in ("sub", "email", "role")),
    *({name: str(NOW + 300)} for name in ("iat", "exp")),
    *({name: True} for name in ("iat", "exp")),
    {"iss": "open-webui "},
    {"iss": "another"},
    {"email": "no address"},
    {"email": "a@b,c@d"},
    {"email": {"a": "b"}},
    {"payload": b"[]"},
    {"payload": b""},
    {"payload": b"not json"},
    {"payload": b"\xff"},
    {"payload": b"[" * 2900},
]


@pytest.mark.parametrize("changed", CLAIMS, ids=str)
def test_claims_are_words_and_numbers_and_none_is_missing(
    signatures: Signatures, changed: dict[str, Any]
) -> None:
    assert code_of(signatures, mint(**changed)) == INVALID


def test_a_token_is_at_most_four_kibibytes(signatures: Signatures) -> None:
    long = max((mint(name="x" * count) for count in range(2700, 3000)), key=_fitting)
    assert len(long) in (LONGEST, LONGEST - 1)
    assert signatures.verify(long.encode(), NOW) == ALICE
    assert code_of(signatures, mint(name="x" * 3000)) == INVALID


def _fitting(token: str) -> int:
    return len(token) if len(token) <= LONGEST else 0


def test_a_good_token_is_looked_at_once(
    signatures: Signatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = mint().encode()
    first = signatures.verify(token, NOW)
    monkeypatch.setattr(signatures, "_deserialize", None)
    assert signatures.verify(token, NOW + 1) is first
    # a signature that is spelled otherwise is another token
    assert code_of(signatures, token[:-2] + b"__") == INVALID


def test_the_memory_is_bounded() -> None:
    signatures = Signatures([Secret(SECRET)], capacity=3)
    for number in range(10):
        signatures.verify(mint(sub=f"user-{number}").encode(), NOW)
    assert len(signatures._known) == 3


def test_the_library_is_loaded_only_where_there_is_a_secret() -> None:
    program = "import sys, nanogpt_proxy.app; sys.exit('joserfc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
