"""The allow-list of paths: what is on it, and that nothing else opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.routes import Body, Dialect, Kind, dialect, match, served

POSTS = {
    "chat/completions": (Body.JSON, Dialect.CHAT),
    "completions": (Body.JSON, Dialect.CHAT),
    "responses": (Body.JSON, Dialect.RESPONSES),
    "messages": (Body.JSON, Dialect.MESSAGES),
    "messages/count_tokens": (Body.JSON, Dialect.MESSAGES),
    "embeddings": (Body.JSON, Dialect.PLAIN),
    "images/generations": (Body.JSON, Dialect.PLAIN),
    "images/edits": (Body.UPLOAD, Dialect.PLAIN),
    "images": (Body.JSON, Dialect.PLAIN),
    "audio/speech": (Body.JSON, Dialect.PLAIN),
    "audio/transcriptions": (Body.UPLOAD, Dialect.PLAIN),
    "moderations": (Body.JSON, Dialect.PLAIN),
}
LISTS = ["models", "embedding-models", "image-models", "audio-models", "video-models"]
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"]


def refusal(method: bytes, target: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        match(method, target)
    return caught.value


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize("slash", ["", "/"])
def test_calls_are_posted_with_or_without_a_slash_at_the_end(name: str, slash: str) -> None:
    found = match(b"POST", f"/v1/{name}{slash}".encode())
    assert (found.route.body, found.route.dialect) == POSTS[name]
    assert (found.route.name, found.route.kind) == (name, Kind.RELAY)
    assert found.path == f"/{name}".encode()


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_lists_of_models_are_answered_by_us(name: str, method: bytes) -> None:
    found = match(method, f"/v1/{name}/".encode())
    assert found.route.kind is Kind.MODEL_LIST
    assert (found.path, found.model) == (f"/{name}".encode(), None)


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (b"/v1/models/gpt-5", "gpt-5"),
        (b"/v1/models/openai/gpt-5", "openai/gpt-5"),
        (b"/v1/models/openai%2Fgpt-5", "openai/gpt-5"),
        (b"/v1/models/openai%2fgpt-5", "openai/gpt-5"),
        (b"/v1/models/a:thinking", "a:thinking"),
        (b"/v1/models/caf%C3%A9", "café"),
        (b"/v1/models/..", ".."),
    ],
)
def test_ids_of_models_hold_slashes(target: bytes, model: str) -> None:
    found = match(b"GET", target)
    assert (found.route.kind, found.model) == (Kind.MODEL, model)


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_stored_responses_are_read_and_deleted(method: bytes) -> None:
    assert match(method, b"/v1/responses/a/").path == b"/responses/a"
    found = match(method, b"/v1/responses/resp_0.A-z")
    assert (found.route.name, found.route.body) == ("responses/{id}", Body.NONE)
    assert (found.route.dialect, found.path) == (Dialect.RESPONSES, b"/responses/resp_0.A-z")


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/responses/.",
        b"/v1/responses/..",
        b"/v1/responses/a/b",
        b"/v1/responses/a/cancel",
        b"/v1/responses/%2e%2e",
        b"/v1/responses/a%2Fb",
        b"/v1/responses/a;b",
        b"/v1/responses/a\n",
        b"/v1/responses/../check-balance",
        b"/v1//responses",
        b"/v1/./models",
        b"/v1/chat/completions//",
        b"/v1/Chat/Completions",
        b"/v1/chat%2Fcompletions",
        b"/V1/models",
        b"/v1",
        b"/v1/",
        b"/",
        b"",
        b"*",
        b"v1/models",
        b"/v1/keys",
        b"/v1/usage",
        b"/v1/credits/link",
        b"/v1/realtime",
        b"/v1/check-balance",
        b"/api/v1/models",
        b"/v1/../api/check-balance",
        b"/v1/images/variations",
        b"/health",
        b"/health/live/",
        b"/health/livex",
        b"/metrics",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_all_else_is_shut(method: bytes, path: bytes) -> None:
    refused = refusal(method, path)
    assert (refused.status, refused.code) == (404, "unknown_path")


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        *((f"/v1/{name}", "POST") for name in POSTS if name != "responses"),
        *((f"/v1/{name}", "GET, HEAD") for name in LISTS),
        ("/v1/responses", "POST"),
        ("/v1/responses/resp_1", "GET, DELETE"),
        ("/v1/models/a/b", "GET"),
        ("/health/live", "GET, HEAD"),
        ("/health/ready", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(target: str, allow: str) -> None:
    for method in METHODS:
        if method.decode() not in allow.split(", "):
            refused = refusal(method, target.encode())
            assert (refused.status, refused.code) == (405, "method_not_allowed")
            assert refused.headers == (("allow", allow),)


def test_head_is_for_lists_and_health_alone() -> None:
    assert refusal(b"HEAD", b"/v1/models/gpt-5").status == 405
    assert refusal(b"HEAD", b"/v1/responses/resp_1").status == 405
    assert match(b"HEAD", b"/health/ready").route.kind is Kind.READY


def test_the_query_is_kept_apart_as_it_is() -> None:
    found = match(b"POST", b"/v1/images?a=%20&b=?&c=/v1/keys")
    assert (found.path, found.query) == (b"/images", b"a=%20&b=?&c=/v1/keys")
    assert match(b"GET", b"/v1/models?").query == b""


def test_an_absolute_target_counts_by_its_path() -> None:
    assert match(b"GET", b"http://proxy:3000/v1/models?a=b").path == b"/models"
    assert match(b"GET", b"HTTPS://proxy/health/live").route.kind is Kind.LIVE
    assert refusal(b"GET", b"http://proxy").status == 404
    assert refusal(b"GET", b"ftp://proxy/v1/models").status == 404


def test_a_fragment_is_refused() -> None:
    assert refusal(b"GET", b"/v1/models#a").status == 400
    assert refusal(b"POST", b"/v1/chat/completions#/../keys").status == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/messages", Dialect.MESSAGES),
        (b"/v1/messages/batches?a=b", Dialect.MESSAGES),
        (b"/v1/messages?a=b", Dialect.MESSAGES),
        (b"/v1/messagesx", Dialect.PLAIN),
        (b"/v1/chat?a=/v1/messages", Dialect.PLAIN),
        (b"", Dialect.PLAIN),
    ],
)
def test_below_messages_refusals_are_in_anthropics_words(target: bytes, expected: Dialect) -> None:
    assert dialect(target) is expected


@given(st.sampled_from(METHODS), st.binary(max_size=40))
def test_a_target_that_opens_is_one_of_the_known(method: bytes, tail: bytes) -> None:
    for target in (b"/v1/" + tail, b"/v1/responses/" + tail, b"/v1/chat/completions" + tail, tail):
        try:
            found = match(method, target)
        except Refusal as refused:
            assert refused.status in (400, 404, 405)
            continue
        assert b"#" not in target
        if found.route.kind is Kind.RELAY:
            assert found.path[1:].decode() in POSTS or (
                found.route.name == "responses/{id}" and found.path.count(b"/") == 2
            )
            assert b".." not in found.path.split(b"/")
            assert not any(c in found.path for c in b"\r\n %?")


def test_what_is_passed_on_for_users_can_be_listed() -> None:
    found = list(served())
    assert ("POST", "/v1/images/edits", Body.UPLOAD) in found
    assert ("DELETE", "/v1/responses/resp_1", Body.NONE) in found
    assert len(found) == len(set(found)) == 14
    for method, path, body in found:
        assert match(method.encode(), path.encode()).route.body is body
