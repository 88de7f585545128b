"""Who is asking: every combination of headers, with a secret and without."""

from __future__ import annotations

from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.headers import names_of, read
from nanogpt_proxy.gateway.identity import Asker, Identities
from nanogpt_proxy.models import Secret
from tests.gateway.conftest import make_settings
from tests.gateway.identity.minting import NOW, PREVIOUS, SECRET, mint

PLAIN = Identities(make_settings())
SIGNED = Identities(make_settings(openwebui_jwt_secret=Secret(SECRET)))

EMAIL = ("X-OpenWebUI-User-Email", "bob@example.com")
ID = ("X-OpenWebUI-User-Id", "user-2")
ROLE = ("X-OpenWebUI-User-Role", "user")
NAME = ("X-OpenWebUI-User-Name", "Bob")
JWT = ("X-OpenWebUI-User-Jwt", mint())

ALICE = Asker("alice@example.com", "user-1", "user")
BOB = Asker("bob@example.com", "user-2", "user")
NOBODY = None
MISSING, INVALID, UNSIGNED = "identity_missing", "identity_invalid", "identity_unsigned"
EXPIRED, AMBIGUOUS, ROLES = "identity_expired", "ambiguous_header", "role_not_allowed"

Headers = list[tuple[str, str]]


def jwt(*args: Any, **changed: Any) -> tuple[str, str]:
    return JWT[0], mint(*args, **changed)


TABLE: list[tuple[str, Headers, Any, Any]] = [
    # what is sent, without a secret, with a secret
    ("none", [], NOBODY, NOBODY),
    ("plain", [EMAIL, ID, ROLE, NAME], BOB, UNSIGNED),
    ("plain e-mail alone", [EMAIL], Asker("bob@example.com", None, None), UNSIGNED),
    ("plain id alone", [ID], MISSING, UNSIGNED),
    ("plain role alone", [ROLE], MISSING, UNSIGNED),
    ("plain name alone", [NAME], MISSING, UNSIGNED),
    ("signed", [JWT], MISSING, ALICE),
    ("both", [EMAIL, ID, ROLE, NAME, JWT], BOB, ALICE),
    ("both, signature first", [JWT, EMAIL, ID, ROLE], BOB, ALICE),
    ("plain twice", [EMAIL, EMAIL], AMBIGUOUS, AMBIGUOUS),
    ("id twice", [EMAIL, ID, ID], AMBIGUOUS, AMBIGUOUS),
    ("role twice", [EMAIL, ROLE, ROLE], AMBIGUOUS, AMBIGUOUS),
    ("signed twice", [JWT, JWT], AMBIGUOUS, AMBIGUOUS),
    ("good and bad signed", [JWT, jwt("x" * 40)], AMBIGUOUS, AMBIGUOUS),
    ("plain with _", [("X_OpenWebUI_User_Email", "a@b")], AMBIGUOUS, AMBIGUOUS),
    ("signed with _", [("X-OpenWebUI_User-Jwt", mint())], AMBIGUOUS, AMBIGUOUS),
    ("signed and plain with _", [JWT, ("x_openwebui-user-id", "1")], AMBIGUOUS, AMBIGUOUS),
    ("empty e-mail", [(EMAIL[0], "")], MISSING, UNSIGNED),
    ("blank e-mail", [(EMAIL[0], " \t")], MISSING, UNSIGNED),
    ("empty id", [EMAIL, (ID[0], "")], INVALID, UNSIGNED),
    ("empty role", [EMAIL, ID, (ROLE[0], "")], INVALID, UNSIGNED),
    ("empty signed", [(JWT[0], "")], MISSING, INVALID),
    ("empty signed, plain", [(JWT[0], ""), EMAIL, ID, ROLE], BOB, INVALID),
    ("no e-mail", [(EMAIL[0], "bob")], INVALID, UNSIGNED),
    ("two e-mails", [(EMAIL[0], "a@b, c@d")], INVALID, UNSIGNED),
    ("pending", [EMAIL, ID, (ROLE[0], "pending")], ROLES, UNSIGNED),
    ("unknown role", [EMAIL, ID, (ROLE[0], "root")], ROLES, UNSIGNED),
    ("role in capitals", [EMAIL, ID, (ROLE[0], "Admin")], ROLES, UNSIGNED),
    ("signed pending", [jwt(role="pending")], MISSING, ROLES),
    ("signed unknown role", [jwt(role="root")], MISSING, ROLES),
    ("signed pending, plain admin", [jwt(role="pending"), EMAIL, (ROLE[0], "admin")], ..., ROLES),
    ("expired", [jwt(now=NOW - 331)], MISSING, EXPIRED),
    ("expired, plain good", [EMAIL, ID, ROLE, jwt(now=NOW - 331)], BOB, EXPIRED),
    ("future", [jwt(now=NOW + 31)], MISSING, INVALID),
    ("wrong issuer", [jwt(iss="open-webui.example")], MISSING, INVALID),
    ("alg none", [jwt(header={"alg": "none"})], MISSING, INVALID),
    ("alg RS256", [jwt(header={"alg": "RS256"})], MISSING, INVALID),
    ("alg HS512", [jwt(header={"alg": "HS512"})], MISSING, INVALID),
    ("empty secret", [jwt("")], MISSING, INVALID),
    ("another secret", [jwt(PREVIOUS)], MISSING, INVALID),
    ("forged, plain good", [EMAIL, ID, ROLE, jwt(PREVIOUS)], BOB, INVALID),
    ("huge", [jwt(name="x" * 4000)], MISSING, INVALID),
    ("e-mail a list", [jwt(email=["alice@example.com"])], MISSING, INVALID),
    ("CRLF inside", [jwt(email="alice@example.com\r\nX-A: b")], MISSING, INVALID),
]


def answer(identities: Identities, headers: Headers) -> Any:
    """Who it is, or the code of the refusal."""
    try:
        return identities.who(read([(n.encode(), v.encode()) for n, v in headers]), NOW)
    except Refusal as refusal:
        assert refusal.status == {AMBIGUOUS: 400, ROLES: 403}.get(refusal.code, 401)
        return refusal.code


@pytest.mark.parametrize(("name", "headers", "plain", "signed"), TABLE, ids=[r[0] for r in TABLE])
def test_who_is_asking(name: str, headers: Headers, plain: Any, signed: Any) -> None:
    for _ in range(2):
        if plain is not ...:
            assert answer(PLAIN, headers) == plain
        assert answer(SIGNED, headers) == signed


def test_a_previous_secret_is_valid_too() -> None:
    both = make_settings(
        openwebui_jwt_secret=Secret(SECRET), openwebui_jwt_secret_previous=Secret(PREVIOUS)
    )
    identities = Identities(both)
    assert answer(identities, [JWT]) == answer(identities, [jwt(PREVIOUS)]) == ALICE


def test_the_operator_chooses_the_roles() -> None:
    identities = Identities(make_settings(allowed_roles=("guest",)))
    assert answer(identities, [EMAIL, (ROLE[0], "guest")]) == Asker(BOB.email, None, "guest")
    assert answer(identities, [EMAIL, (ROLE[0], "admin")]) == ROLES


RENAMED = make_settings(
    openwebui_jwt_secret=Secret(SECRET),
    forward_user_info_header_jwt="X-Who",
    forward_user_info_header_user_email="X-Mail",
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Who", mint())], ALICE),
        ([("x-who", mint()), ("X-OpenWebUI-User-Jwt", "ignored")], ALICE),
        ([("X-OpenWebUI-User-Jwt", mint())], NOBODY),
        ([("X-Mail", "a@b")], UNSIGNED),
        ([("X-Who", mint()), ("X-Who", mint())], AMBIGUOUS),
        ([("X_Who", mint())], AMBIGUOUS),
        ([("X-Who", mint()), ("X_Mail", "a@b")], AMBIGUOUS),
    ],
)
def test_headers_have_the_names_that_open_webui_was_told(headers: Headers, expected: Any) -> None:
    identities, names = Identities(RENAMED), names_of(RENAMED)
    try:
        found: Any = identities.who(
            read([(n.encode(), v.encode()) for n, v in headers], names), NOW
        )
    except Refusal as refusal:
        found = refusal.code
    assert found == expected
