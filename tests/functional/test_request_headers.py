"""What NanoGPT gets of a request: nothing that is not on the list, and the user's own key."""

from __future__ import annotations

import pytest

import nanogpt_proxy
from standin.process import Json, StandIn
from tests.functional.running import ALICE, BOB, PENNILESS, REVOKED, TOKEN, User
from tests.functional.wire import Wire, chunk, head_of

CHAT = "/v1/chat/completions"
BODY = b'{"model":"standin/ok"}'
MULTIPART = "multipart/form-data; boundary=b"
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="file.wav"\r\n\r\nR\r\n--b--\r\n'
)
VERSION = nanogpt_proxy.__version__


@pytest.fixture
def since(nano: StandIn) -> int:
    last: int = nano.state()["last"]
    return last


def only(nano: StandIn, since: int) -> Json:
    (seen,) = nano.requests(since)
    return seen


def fixed(nano: StandIn, *more: tuple[str, str]) -> dict[str, str]:
    """All headers of a plain JSON call."""
    return {
        "host": f"{nano.host}:{nano.port}",
        "authorization": f"Bearer {ALICE.key}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": f"nanogpt-proxy/{VERSION}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        **dict(more),
    }


def headers_of(seen: Json) -> dict[str, str]:
    pairs = [(name.lower(), value) for name, value in seen["headers"]]
    assert len(dict(pairs)) == len(pairs), "a header occurs twice"
    return dict(pairs)


def test_a_plain_call_has_these_headers_and_no_others(
    nano: StandIn, line: Wire, since: int
) -> None:
    assert line.ask("POST", CHAT, ALICE.headers(), BODY).status == 200
    seen = only(nano, since)
    assert headers_of(seen) == fixed(nano)
    assert (seen["method"], seen["path"], seen["version"]) == ("POST", f"/api{CHAT}", "1.1")


def test_what_open_webui_and_browsers_add_stays_here(nano: StandIn, line: Wire, since: int) -> None:
    planted = [
        ("X-Api-Key", "sk-other"), ("Cookie", "a=b"), ("Origin", "https://chat.example"),
        ("Referer", "https://chat.example/c/1"), ("User-Agent", "Python/3.11 aiohttp/3.14"),
        ("Accept-Encoding", "gzip, deflate, br"), ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Host", "chat.example"), ("Forwarded", "for=10.0.0.1"), ("Via", "1.1 x"),
        ("X-Real-IP", "10.0.0.1"), ("X-OpenWebUI-User-Name", "Alice"),
        ("X-OpenWebUI-User-Role", "admin"),
        ("X-OpenWebUI-User-Jwt", "e.y.j"), ("X-OpenWebUI-Chat-Id", "c1"),
        ("X-OpenWebUI-Auth-Type", "jwt"), ("X-Request-ID", "req-1"), ("X-Title", "Open WebUI"),
        ("HTTP-Referer", "https://openwebui.com/"), ("X-PAYMENT", "x"), ("x-x402", "true"),
        ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"), ("TE", "trailers"), ("Trailer", "X-A"),
        ("Proxy-Connection", "keep-alive"), ("DNT", "1"), ("X-Unknown", "1"),
        ("Range", "bytes=0-1"),
        ("If-None-Match", '"x"'), ("X_Unknown", "1"), ("Content_Length", "3"),
        ("Transfer_Encoding", "chunked"), ("Content-Language", "en"), ("Expect_", "x"),
    ]  # fmt: skip
    assert line.ask("POST", CHAT, ALICE.headers(*planted), BODY).status == 200
    assert headers_of(only(nano, since)) == fixed(nano)


def test_what_nanogpt_understands_goes_up(nano: StandIn, line: Wire, since: int) -> None:
    allowed = [
        ("accept", "text/event-stream"), ("x-provider", "openai"), ("x-billing-mode", "paygo"),
        ("x-use-byok", "true"), ("x-byok-provider", "openai"), ("memory", "true"),
        ("memory_expiration_days", "30"), ("moderation", "true"), ("moderation-model", "m"),
        ("redaction", "true"), ("redacted", "1"), ("piiredaction", "1"), ("piiredacted", "1"),
        ("anthropic-beta", "a,b"), ("anthropic-version", "2023-06-01"),
        ("x-prompt-caching-cut-after", "3"), ("x-team-id", "t"), ("x-encryption-key", "e"),
        ("x-encryption-passphrase", "p"), ("idempotency-key", "i"),
    ]  # fmt: skip
    assert line.ask("POST", CHAT, ALICE.headers(*allowed), BODY).status == 200
    assert headers_of(only(nano, since)) == fixed(nano, *allowed)


@pytest.mark.parametrize(
    "name", ["memory-expiration-days", "Memory_Expiration_Days", "MEMORY_EXPIRATION-DAYS"]
)
def test_the_header_with_underscores_goes_up_as_nanogpt_spells_it(
    nano: StandIn, line: Wire, since: int, name: str
) -> None:
    line.ask("POST", CHAT, ALICE.headers((name, "7")), BODY)
    found = [pair for pair in only(nano, since)["headers"] if "expiration" in pair[0].lower()]
    assert found == [["memory_expiration_days", "7"]]


def test_values_are_trimmed_and_empty_ones_are_absent(
    nano: StandIn, line: Wire, since: int
) -> None:
    pairs = [("X-Provider", " \t openai \t "), ("X-Team-Id", "  "), ("Accept", "")]
    line.ask("POST", CHAT, ALICE.headers(*pairs), BODY)
    assert headers_of(only(nano, since)) == fixed(nano, ("x-provider", "openai"))


def test_a_list_in_several_lines_is_joined(nano: StandIn, line: Wire, since: int) -> None:
    line.ask("POST", CHAT, ALICE.headers(("Anthropic-Beta", "a"), ("anthropic_beta", "b")), BODY)
    assert headers_of(only(nano, since))["anthropic-beta"] == "a, b"


def test_each_call_is_paid_with_the_callers_own_key(nano: StandIn, line: Wire, since: int) -> None:
    for user in (ALICE, BOB, ALICE):
        line.ask("POST", CHAT, user.headers(), BODY)
    assert [seen["key"] for seen in nano.requests(since)] == [ALICE.key, BOB.key, ALICE.key]


def test_the_token_as_api_key_does_not_go_up(nano: StandIn, line: Wire, since: int) -> None:
    pairs = [
        ("X-Api-Key", TOKEN), *ALICE.identity.items(),
        ("Content-Type", "application/json"),
    ]  # fmt: skip
    assert line.ask("POST", CHAT, pairs, BODY).status == 200
    assert headers_of(only(nano, since)) == fixed(nano)


@pytest.mark.parametrize(("user", "status"), [(REVOKED, 401), (PENNILESS, 402)])
def test_what_nanogpt_says_of_a_key_reaches_its_owner(line: Wire, user: User, status: int) -> None:
    answer = line.ask("POST", CHAT, user.headers(), BODY)
    assert answer.status == status
    assert answer.json["error"]


QUERIES = ["a=b", "scenario=ok&x=%2F%20+", "?", "a=b?c=d", "=&&", "x=%00%zz"]


@pytest.mark.parametrize("query", QUERIES)
def test_the_query_is_kept_as_it_is(nano: StandIn, line: Wire, since: int, query: str) -> None:
    line.ask("POST", f"{CHAT}?{query}", ALICE.headers(), BODY)
    seen = only(nano, since)
    assert (seen["path"], seen["query"]) == (f"/api{CHAT}", query)


def test_a_slash_at_the_end_is_dropped(nano: StandIn, line: Wire, since: int) -> None:
    assert line.ask("POST", f"{CHAT}/?a=b", ALICE.headers(), BODY).status == 200
    seen = only(nano, since)
    assert (seen["path"], seen["query"]) == (f"/api{CHAT}", "a=b")


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_an_upload_goes_up_in_chunks_however_it_came(
    nano: StandIn, line: Wire, since: int, coding: str
) -> None:
    framing = ("Content-Length", str(len(PARTS)))
    body = PARTS
    if coding == "chunked":
        framing, body = ("Transfer-Encoding", "chunked"), chunk(PARTS) + b"0\r\nX-A: b\r\n\r\n"
    target = "/v1/audio/transcriptions"
    line.send(head_of("POST", target, ALICE.headers(framing, kind=MULTIPART)))
    nano.wait_next(since)  # it goes up before the body is there
    line.send(body)
    assert line.answer().status == 200
    seen = only(nano, since)
    expected = fixed(nano, ("content-type", MULTIPART), ("transfer-encoding", "chunked"))
    del expected["content-length"]
    assert headers_of(seen) == expected
    assert seen["body"]["length"] == len(PARTS)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_call_without_a_body_says_nothing_of_one(
    nano: StandIn, line: Wire, since: int, method: str
) -> None:
    line.ask(method, "/v1/responses/resp_x", ALICE.headers(("X-Encryption-Key", "k"), kind=None))
    seen = only(nano, since)
    expected = fixed(nano, ("x-encryption-key", "k"))
    del expected["content-type"], expected["content-length"]
    assert headers_of(seen) == expected
    assert (seen["method"], seen["path"]) == (method, "/api/v1/responses/resp_x")
