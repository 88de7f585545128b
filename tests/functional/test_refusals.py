"""Who and what is refused, with which status and which words, and that nothing goes up."""

from __future__ import annotations

import json

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, DISABLED, KEYLESS, STRANGER, TOKEN, User
from tests.functional.wire import Answer, Wire, head_of

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
JSON = ("Content-Type", "application/json")
BEARER = ("Authorization", f"Bearer {TOKEN}")
EMAIL = ("X-OpenWebUI-User-Email", ALICE.email)
Pairs = list[tuple[str, str]]


@pytest.fixture
def since(nano: StandIn) -> int:
    last: int = nano.state()["last"]
    return last


def check_error(answer: Answer, status: int, code: str) -> str:
    """OpenAI's error shape; the sentence."""
    assert answer.get("content-type") == "application/json"
    error = answer.json["error"]
    assert set(answer.json) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert (answer.status, error["code"], error["param"]) == (status, code, None)
    message: str = error["message"]
    assert message
    assert error["type"]
    assert "Traceback" not in message
    assert TOKEN not in message
    return message


@pytest.mark.parametrize(
    ("pairs", "code"),
    [
        ([], "connection_token_missing"),
        ([("Authorization", "")], "connection_token_missing"),
        ([("X-Api-Key", " ")], "connection_token_missing"),
        ([("Authorization", "Bearer wrong-but-long-enough")], "connection_token_wrong"),
        ([("Authorization", f"Bearer {TOKEN}x")], "connection_token_wrong"),
        ([("Authorization", f"Bearer {TOKEN[:-1]}")], "connection_token_wrong"),
        ([("Authorization", f"Bearer {TOKEN.upper()}")], "connection_token_wrong"),
        ([("Authorization", f"Basic {TOKEN}")], "connection_token_wrong"),
        ([("Authorization", TOKEN)], "connection_token_wrong"),
        ([("Authorization", "Bearer")], "connection_token_wrong"),
        ([("Authorization", "Bearer \xff\xfe")], "connection_token_wrong"),
        ([("Authorization", "Bearer wrong"), ("X-Api-Key", TOKEN)], "connection_token_wrong"),
        ([("X-Api-Key", "wrong-but-long-enough")], "connection_token_wrong"),
        ([("X-Api-Key", ALICE.key)], "connection_token_wrong"),
    ],
)
def test_without_the_token_there_is_no_way_in(
    nano: StandIn, line: Wire, since: int, pairs: Pairs, code: str
) -> None:
    answer = line.ask("POST", CHAT, [JSON, EMAIL, *pairs], BODY)
    message = check_error(answer, 401, code)
    assert "nanogpt-proxy token" in message
    assert answer.get("www-authenticate") == "Bearer"
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    "pairs",
    [
        [BEARER],
        [("authorization", f"bearer  {TOKEN} ")],
        [("X-Api-Key", TOKEN)],
        [BEARER, ("X-Api-Key", "anything")],
    ],
)
def test_the_token_opens_as_a_bearer_or_alone_as_api_key(line: Wire, pairs: Pairs) -> None:
    assert line.ask("POST", CHAT, [JSON, EMAIL, *pairs], BODY).status == 200


def test_each_of_several_tokens_opens(start: Start) -> None:
    proxy = start(PROXY_TOKEN=f"{TOKEN},another-0123456789")
    with proxy.connect() as line:
        for token in (TOKEN, "another-0123456789"):
            pairs = [JSON, EMAIL, ("Authorization", f"Bearer {token}")]
            assert line.ask("POST", CHAT, pairs, BODY).status == 200
        both = [JSON, EMAIL, ("Authorization", f"Bearer {TOKEN},another-0123456789")]
        assert line.ask("POST", CHAT, both, BODY).status == 401


def test_who_asks_must_be_said(nano: StandIn, line: Wire, since: int) -> None:
    for pairs in ([], [("X-OpenWebUI-User-Email", "  ")], [("X-OpenWebUI-User-Id", "1")]):
        answer = line.ask("POST", CHAT, [JSON, BEARER, *pairs], BODY)
        message = check_error(answer, 401, "identity_missing")
        assert "ENABLE_FORWARD_USER_INFO_HEADERS=true" in message
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    "email",
    ["alice", "@", "alice@", "a@b@c", "a,b@c", "a b@c", f"{ALICE.email}, {ALICE.email}", "\xff@b"],
)
def test_who_asks_must_be_an_address(line: Wire, email: str) -> None:
    pairs = [JSON, BEARER, ("X-OpenWebUI-User-Email", email)]
    check_error(line.ask("POST", CHAT, pairs, BODY), 401, "identity_invalid")


@pytest.mark.parametrize("email", ["ALICE@Example.COM", "  alice@example.com\t"])
def test_spellings_of_an_address_are_one_user(line: Wire, email: str) -> None:
    pairs = [JSON, BEARER, ("X-OpenWebUI-User-Email", email)]
    assert line.ask("POST", CHAT, pairs, BODY).status == 200


TWICE = [
    ("X-OpenWebUI-User-Email", STRANGER.email), ("x-openwebui-user-email", ALICE.email),
    ("X_OpenWebUI_User_Email", ALICE.email), ("X-OpenWebUI-User_Email", ALICE.email),
    ("Authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x"),
]  # fmt: skip


@pytest.mark.parametrize("more", TWICE)
@pytest.mark.parametrize("first", [True, False])
def test_a_guarded_header_that_comes_twice_is_refused(
    nano: StandIn, line: Wire, since: int, more: tuple[str, str], first: bool
) -> None:
    pairs = [JSON, more, BEARER, EMAIL] if first else [JSON, BEARER, EMAIL, more]
    check_error(line.ask("POST", CHAT, pairs, BODY), 400, "ambiguous_header")
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    "pairs",
    [
        [BEARER, ("X_OpenWebUI_User_Email", ALICE.email)],
        [BEARER, EMAIL, ("X_OpenWebUI_User_Jwt", "e.y.j")],
        [BEARER, EMAIL, ("X-OpenWebUI-User-Id", "1"), ("X-OpenWebUI-User-Id", "1")],
        [EMAIL, ("X_Api_Key", TOKEN)],
    ],
)
def test_a_guarded_header_with_underscores_is_refused_even_alone(line: Wire, pairs: Pairs) -> None:
    check_error(line.ask("POST", CHAT, [JSON, *pairs], BODY), 400, "ambiguous_header")


@pytest.mark.parametrize(
    ("user", "status", "code", "mend"),
    [
        (STRANGER, 401, "key_not_enrolled", "nanogpt-proxy add-user"),
        (KEYLESS, 401, "key_not_enrolled", "nanogpt-proxy add-user"),
        (DISABLED, 403, "user_disabled", "operator"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/audio/transcriptions"])
def test_users_without_a_key_are_told_whom_to_ask(
    nano: StandIn, line: Wire, since: int, path: str, user: User, status: int, code: str, mend: str
) -> None:
    answer = line.ask("POST", path, user.headers(), BODY)
    assert mend in check_error(answer, status, code)
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    ("user", "path", "status", "kind", "code"),
    [
        (STRANGER, MESSAGES, 401, "authentication_error", "key_not_enrolled"),
        (DISABLED, MESSAGES, 403, "permission_error", "user_disabled"),
        (DISABLED, f"{MESSAGES}/count_tokens", 403, "permission_error", "user_disabled"),
    ],
)
def test_on_messages_errors_have_anthropics_shape(
    line: Wire, user: User, path: str, status: int, kind: str, code: str
) -> None:
    answer = line.ask("POST", path, user.headers(), BODY)
    assert answer.status == status
    assert answer.json["type"] == "error"
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == (kind, code)
    assert answer.json["error"]["message"]


def test_a_bad_body_on_messages_has_anthropics_shape(line: Wire) -> None:
    answer = line.ask("POST", MESSAGES, ALICE.headers(), b"{")
    assert (answer.status, answer.json["type"]) == (400, "error")
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_a_wrong_token_on_messages_has_anthropics_shape(line: Wire) -> None:
    answer = line.ask("POST", MESSAGES, [JSON, EMAIL, ("X-Api-Key", "wrong")], BODY)
    assert (answer.status, answer.json["type"]) == (401, "error")
    assert answer.json["error"]["type"] == "authentication_error"


SHUT = [
    "/", "/v1", "/v1/", "/v2/models", "/v1/chat", "/v1/chat/completions/x", "/v1//models",
    "/V1/models", "/v1/Models", "/v1/balance", "/v1/check-balance", "/v1/usage", "/v1/auth/keys",
    "/v1/files", "/v1/threads", "/v1/realtime", "/v1/responses/.",
    "/v1/responses/..", "/v1/responses/a/b", "/v1/responses/a%2fb", "/v1/responses/%2e%2e",
    "/v1/responses/a;b", "/v1/chat%2fcompletions", "/v1/./chat/completions",
    "/v1/x/../chat/completions", "/api/v1/models", "/api/check-balance", "/metrics", "/docs",
    "/health", "/health/", "/favicon.ico", "/v1/chat/completions\\..", "/v1/images/edits/..",
]  # fmt: skip


@pytest.mark.parametrize("path", SHUT)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_stay_shut(
    nano: StandIn, line: Wire, since: int, path: str, method: str
) -> None:
    answer = line.ask(method, path, ALICE.headers(), BODY)
    check_error(answer, 404, "unknown_path")
    assert nano.state()["last"] == since


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, {"POST"}), ("PUT", CHAT, {"POST"}), ("DELETE", CHAT, {"POST"}),
        ("HEAD", CHAT, {"POST"}), ("OPTIONS", CHAT, {"POST"}), ("PATCH", CHAT, {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}), ("DELETE", "/v1/models/x/y", {"GET"}),
        ("POST", "/v1/responses/r", {"GET", "DELETE"}), ("GET", "/v1/images", {"POST"}),
        ("POST", "/health/live", {"GET", "HEAD"}), ("TRACE", CHAT, {"POST"}),
    ],
)  # fmt: skip
def test_a_wrong_method_is_told_the_right_ones(
    line: Wire, method: str, path: str, allow: set[str]
) -> None:
    answer = line.ask(method, path, ALICE.headers())
    assert answer.status == 405
    assert set((answer.get("allow") or "").split(", ")) >= allow
    if method != "HEAD":
        check_error(answer, 405, "method_not_allowed")
    assert line.ask("GET", "/health/live").status == 200


@pytest.mark.parametrize("path", ["/v1/realtime", CHAT, "/v1/models", "/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_upgrades_lead_nowhere(
    nano: StandIn, line: Wire, since: int, path: str, method: str
) -> None:
    pairs = ALICE.headers(
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )  # fmt: skip
    line.send(head_of(method, path, pairs) + b"\x81\x05hello")
    answer = line.answer()
    assert "WebSocket" in check_error(answer, 404, "no_realtime")
    assert answer.get("connection") == "close"
    assert nano.state()["last"] == since


def test_connect_is_no_way_out(nano: StandIn, line: Wire, since: int) -> None:
    line.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert line.answer().status in (400, 404, 405)
    assert line.ended() == "fin"
    assert nano.state()["last"] == since


def test_the_path_is_judged_before_the_token_and_the_token_before_the_user(line: Wire) -> None:
    assert line.ask("POST", "/v1/nowhere", [JSON], BODY).code == "unknown_path"
    assert line.ask("POST", CHAT, [JSON], BODY).code == "connection_token_missing"
    assert line.ask("POST", CHAT, [JSON, BEARER], BODY).code == "identity_missing"
    assert line.ask("POST", CHAT, [BEARER, EMAIL], BODY).code == "unsupported_media_type"


def test_health_needs_no_token(line: Wire) -> None:
    assert line.ask("GET", "/health/live").json == {"status": "alive"}
    assert line.ask("GET", "/health/ready").json == {"status": "ready"}
