"""Who is asking, over real sockets: signatures, binding, calls for nobody, and dead keys."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import (
    ALICE,
    BOB,
    DISABLED,
    KEYLESS,
    REVOKED,
    STRANGER,
    TOKEN,
    Proxy,
    User,
)
from tests.functional.wire import Answer
from tests.gateway.identity.minting import PREVIOUS, SECRET, mint

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BODY = b'{"model":"standin/echo","messages":[],"input":["x"]}'
SERVICE_KEY = "sk-nano-5e41ce00-0000-4000-8000-000000000006"
NEW_KEY = "sk-nano-0e0e0e0e-0000-4000-8000-00000000000e"
SOON = 1.0

Headers = list[tuple[str, str]]


def post(proxy: Proxy, identity: Headers, path: str = CHAT, token: str | None = TOKEN) -> Answer:
    headers = [*identity, ("Content-Type", "application/json")]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    with proxy.connect() as line:
        return line.ask("POST", path, headers, BODY)


def plain(user: User, **changed: str) -> Headers:
    return list((user.identity | {f"X-OpenWebUI-User-{n}": v for n, v in changed.items()}).items())


def signed(user: User, secret: str = SECRET, **changed: Any) -> Headers:
    now = int(time.time())
    claims: dict[str, Any] = {"email": user.email, "sub": user.id, "now": now} | changed
    return [("X-OpenWebUI-User-Jwt", mint(secret, **claims))]


def state(proxy: Proxy, user: User) -> str:
    rows = json.loads(proxy.command("list", "--json"))
    (found,) = [row["state"] for row in rows if row["email"] == user.email]
    return str(found)


def until(answers: Any, expected: Any) -> None:
    begin = time.monotonic()
    while answers() != expected:
        assert time.monotonic() - begin < 5 * SOON
        time.sleep(0.02)


@pytest.fixture(scope="module")
def signing(start_session: Start) -> Proxy:
    return start_session(OPENWEBUI_JWT_SECRET=SECRET, OPENWEBUI_JWT_SECRET_PREVIOUS=PREVIOUS)


def test_a_signed_user_pays_with_their_own_key(signing: Proxy, nano: StandIn) -> None:
    since = nano.state()["last"]
    for user, secret in ((ALICE, SECRET), (BOB, PREVIOUS), (ALICE, PREVIOUS)):
        answer = post(signing, signed(user, secret))
        assert (answer.status, answer.json["echo"]["key_sha256"]) == (200, user.digest)
    sent = json.dumps(nano.requests(since)).lower()
    assert "jwt" not in sent
    assert ALICE.email not in sent


def test_a_plain_header_beside_a_good_signature_is_ignored(signing: Proxy) -> None:
    answer = post(signing, signed(ALICE) + plain(BOB))
    assert answer.json["echo"]["key_sha256"] == ALICE.digest


@pytest.mark.parametrize(
    ("identity", "status", "code"),
    [
        (plain(ALICE), 401, "identity_unsigned"),
        ([], 401, "identity_missing"),
        (signed(ALICE, "another secret that nobody has told us"), 401, "identity_invalid"),
        (signed(ALICE, header={"alg": "none"}), 401, "identity_invalid"),
        (signed(ALICE, now=int(time.time()) - 3600), 401, "identity_expired"),
        (signed(ALICE, now=int(time.time()) + 3600), 401, "identity_invalid"),
        (signed(ALICE, role="pending"), 403, "role_not_allowed"),
        (signed(ALICE) * 2, 400, "ambiguous_header"),
        ([("X_OpenWebUI_User_Jwt", signed(ALICE)[0][1])], 400, "ambiguous_header"),
        (signed(STRANGER), 401, "key_not_enrolled"),
    ],
)
def test_what_is_not_well_signed_does_not_go_up(
    signing: Proxy, nano: StandIn, identity: Headers, status: int, code: str
) -> None:
    since = nano.state()["last"]
    answer = post(signing, identity)
    assert (answer.status, answer.code) == (status, code)
    assert nano.requests(since) == []


def test_a_signature_alone_opens_nothing(signing: Proxy) -> None:
    (jwt,) = signed(ALICE)
    for token in (None, jwt[1], "wrong"):
        assert post(signing, [jwt], token=token).status == 401
        assert (post(signing, [jwt], token=token).code or "").startswith("connection_token_")


def test_headers_may_have_other_names(start: Start) -> None:
    proxy = start(OPENWEBUI_JWT_SECRET=SECRET, FORWARD_USER_INFO_HEADER_JWT="X-Who")
    (jwt,) = signed(ALICE)
    assert post(proxy, [("x-who", jwt[1])]).status == 200
    assert post(proxy, [jwt]).code == "identity_missing"
    assert post(proxy, [("X-Who", jwt[1]), ("X_Who", jwt[1])]).code == "ambiguous_header"


def test_without_the_token_nobody_learns_who_has_an_account(gateway: Proxy) -> None:
    people: list[Headers] = [plain(u) for u in (ALICE, BOB, DISABLED, KEYLESS, REVOKED, STRANGER)]
    people += [[], [("X-OpenWebUI-User-Email", "no address")], plain(ALICE, Role="pending")]
    people += [plain(ALICE, Id="another"), signed(ALICE), signed(STRANGER)]
    for path in (CHAT, EMBEDDINGS, "/v1/messages"):
        for token in (None, "wrong", TOKEN[:-1]):
            answers = [post(gateway, identity, path, token) for identity in people]
            told = {
                (
                    a.status,
                    a.body,
                    tuple(p for p in a.headers if p[0] not in ("date", "x-request-id")),
                )
                for a in answers
            }
            assert len(told) == 1
            assert answers[0].status == 401


def test_another_user_with_the_same_email_is_refused_until_unbound(start: Start) -> None:
    proxy = start()
    assert post(proxy, plain(ALICE)).status == 200
    stranger = plain(ALICE, Id="who-registered-her-address-later")
    for identity in (stranger, plain(ALICE)[:1]):
        answer = post(proxy, identity)
        assert (answer.status, answer.code) == (403, "identity_changed")
        assert "nanogpt-proxy unbind EMAIL" in answer.json["error"]["message"]
    assert post(proxy, plain(ALICE)).status == 200
    assert proxy.command("unbind", ALICE.email) == f"unbound {ALICE.email}\n"
    until(lambda: post(proxy, stranger).status, 200)
    assert post(proxy, plain(ALICE)).code == "identity_changed"


def test_an_account_moves_along_with_its_users_new_email(start: Start) -> None:
    proxy = start()
    assert post(proxy, plain(ALICE)).status == 200
    answer = post(proxy, plain(ALICE, Email="Alice@new.example"))
    assert answer.json["echo"]["key_sha256"] == ALICE.digest
    assert post(proxy, plain(ALICE, Email=BOB.email)).code == "identity_changed"
    emails = {row["email"] for row in json.loads(proxy.command("list", "--json"))}
    assert "alice@new.example" in emails
    assert ALICE.email not in emails
    assert "an account has moved" in proxy.said


def test_binding_can_be_switched_off(start: Start) -> None:
    proxy = start(BIND_IDENTITY="false")
    for id in ("1", "2"):
        assert post(proxy, plain(ALICE, Id=id)).status == 200


def test_calls_for_nobody_are_paid_by_the_service_where_that_is_wanted(start: Start) -> None:
    proxy = start(ANONYMOUS_CALLS="service", SERVICE_API_KEY=SERVICE_KEY)
    answer = post(proxy, [], EMBEDDINGS)
    assert answer.status == 200
    proxy.wait_said(r"account=service .*route=embeddings|route=embeddings .*account=service")
    assert post(proxy, []).code == "identity_missing"
    for bad in ([("X-OpenWebUI-User-Email", "")], plain(STRANGER), signed(ALICE)):
        assert post(proxy, bad, EMBEDDINGS).status == 401


def test_a_dead_key_is_marked_and_not_sent_again_until_there_is_a_new_one(
    start: Start, nano: StandIn
) -> None:
    proxy = start()
    since = nano.state()["last"]
    for path in (CHAT, CHAT, "/v1/messages", EMBEDDINGS):
        answer = post(proxy, plain(REVOKED), path)
        assert answer.status == 401
        assert "key_rejected" in answer.body.decode() or path == "/v1/messages"
        assert "nanogpt-proxy set-key" in answer.body.decode()
    assert len(nano.requests(since)) == 1
    until(lambda: state(proxy, REVOKED), "key_rejected")
    proxy.command("set-key", REVOKED.email, stdin=NEW_KEY)
    assert state(proxy, REVOKED) == "active"
    until(lambda: post(proxy, plain(REVOKED)).status, 200)
