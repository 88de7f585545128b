"""Which headers cross the border. What is not on a list does not, whatever it is called."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nanogpt_proxy import __version__
from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import headers
from nanogpt_proxy.gateway.headers import anonymous, downward, read, upward
from nanogpt_proxy.models import Secret

KEY = Secret("sk-nano-01234567-89ab-cdef-0123-456789abcdef")

# Fact sheets: what NanoGPT gives a meaning to, and what its answers carry.
UP = {
    b"accept",
    b"content-type",
    b"x-provider",
    b"x-billing-mode",
    b"x-use-byok",
    b"x-byok-provider",
    b"memory",
    b"memory_expiration_days",
    b"moderation",
    b"moderation-model",
    b"redaction",
    b"redacted",
    b"piiredaction",
    b"piiredacted",
    b"anthropic-beta",
    b"anthropic-version",
    b"x-prompt-caching-cut-after",
    b"x-team-id",
    b"x-encryption-key",
    b"x-encryption-passphrase",
    b"idempotency-key",
}
OURS = {b"accept", b"authorization", b"accept-encoding", b"user-agent"}
NEVER_DOWN = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"content-length",
    b"set-cookie",
    b"set-cookie2",
    b"alt-svc",
    b"strict-transport-security",
    b"access-control-allow-origin",
    b"server",
    b"via",
    b"x-accel-buffering",
}
NEVER_UP = [
    b"cookie",
    b"origin",
    b"referer",
    b"user-agent",
    b"host",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"forwarded",
    b"x-forwarded-for",
    b"x-real-ip",
    b"x-request-id",
    b"x-title",
    b"x-x402",
    b"x-payment",
    b"accept-encoding",
    b"content-encoding",
    b"proxy-authorization",
    b"x-openwebui-chat-id",
    b"x-openwebui-auth-type",
]
GUARDED = [
    b"authorization",
    b"x-api-key",
    b"x-openwebui-user-email",
    b"x-openwebui-user-id",
    b"x-openwebui-user-name",
    b"x-openwebui-user-role",
    b"x-openwebui-user-jwt",
]

token = st.text(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    min_size=1,
    max_size=30,
).map(str.encode)
known = st.sampled_from(sorted(UP | NEVER_DOWN | {*NEVER_UP, *GUARDED}))
spelled = known.flatmap(
    lambda name: st.sampled_from([name, name.upper(), name.title(), name.replace(b"_", b"-")])
)
value = st.binary(max_size=40).map(lambda raw: bytes(b for b in raw if b not in b"\r\n\0"))
pairs = st.lists(st.tuples(token | spelled, value), max_size=12)


def lines(block: bytes) -> list[tuple[bytes, bytes]]:
    """The header lines as a receiver reads them."""
    assert block.endswith(b"\r\n")
    split = [line.partition(b": ") for line in block[:-2].split(b"\r\n")]
    assert all(colon for _, colon, _ in split)
    return [(name, text) for name, _, text in split]


def test_what_nanogpt_knows_goes_up_in_its_spelling() -> None:
    sent = [(name.upper(), b"v-" + name) for name in sorted(UP)]
    up = dict(lines(upward(read(sent), KEY)))
    assert {name: up[name] for name in UP} == {name: b"v-" + name for name in UP}
    assert up.keys() == UP | OURS


def test_a_name_is_known_with_dashes_and_with_underscores() -> None:
    assert (b"memory_expiration_days", b"3") in lines(
        upward(read([(b"Memory-Expiration-Days", b"3")]), KEY)
    )
    assert (b"x-provider", b"p") in lines(upward(read([(b"X_Provider", b"p")]), KEY))


def test_the_users_key_and_our_own_headers_go_up() -> None:
    up = lines(upward({}, KEY))
    assert up == [
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer " + KEY.reveal().encode()),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"nanogpt-proxy/" + __version__.encode()),
    ]


@pytest.mark.parametrize("name", NEVER_UP)
def test_unknown_headers_are_dropped_and_not_refused(name: bytes) -> None:
    twice = [(name, b"theirs"), (name.replace(b"-", b"_").upper(), b"theirs")]
    assert b"theirs" not in upward(read(twice), KEY)


@pytest.mark.parametrize("name", GUARDED)
def test_credentials_and_identity_never_go_up(name: bytes) -> None:
    up = lines(upward(read([(name, b"theirs@example.com")]), KEY))
    assert not any(b"theirs" in text for _, text in up)
    assert [text for found, text in up if found == b"authorization"] == [
        b"Bearer " + KEY.reveal().encode()
    ]


@pytest.mark.parametrize("name", GUARDED)
def test_a_guarded_header_comes_once_and_with_dashes(name: bytes) -> None:
    smuggled = name.replace(b"-", b"_", 1)
    ambiguous = [
        [(name, b"a"), (name, b"b")],
        [(name, b"a"), (name, b"a")],
        [(name, b"a"), (name.title(), b"")],
        [(name, b""), (name, b"a")],
    ]
    if smuggled != name:
        ambiguous += [
            [(smuggled, b"a")],
            [(smuggled, b"")],
            [(name, b"a"), (smuggled.upper(), b"b")],
        ]
    for sent in ambiguous:
        with pytest.raises(Refusal) as caught:
            read(sent)
        assert (caught.value.status, caught.value.code) == (400, "ambiguous_header")
    assert read([(name.upper(), b" a ")]) == {name: b"a"}


def test_values_are_trimmed_and_an_empty_one_counts_as_absent() -> None:
    assert read([(b"accept", b" \t"), (b"x-team-id", b"\t a b ")]) == {b"x-team-id": b"a b"}
    assert (b"accept", b"*/*") in lines(upward(read([(b"accept", b"")]), KEY))


def test_a_list_in_several_lines_becomes_one() -> None:
    sent = [(b"anthropic-beta", b"one"), (b"x-provider", b"p"), (b"Anthropic_Beta", b"two")]
    assert read(sent)[b"anthropic-beta"] == b"one, two"


def test_a_call_of_our_own_carries_no_key() -> None:
    assert dict(lines(anonymous())).keys() == {b"accept", b"accept-encoding", b"user-agent"}


def test_what_an_answer_says_comes_down_in_lower_case() -> None:
    said = [
        (b"Content-Type", b"application/json"),
        (b"X-Request-ID", b"r-1"),
        (b"Retry-After", b"7"),
        (b"WWW-Authenticate", b"Bearer"),
        (b"x-nanogpt-inline-moderation-flagged", b"false"),
        (b"X-NanoGPT-Advisor-Id", b"a"),
        (b"x-remaining-balance", b"1.5"),
        (b"Vary", b"a"),
        (b"Vary", b"b"),
    ]
    assert downward(said) == [(name.lower(), text) for name, text in said]


@pytest.mark.parametrize("name", sorted(NEVER_DOWN))
def test_hop_by_hop_headers_and_cookies_never_come_down(name: bytes) -> None:
    assert downward([(name, b"v"), (name.title(), b"v"), (name.upper(), b"v")]) == []


@given(pairs)
@example([(b"X_Api_Key", b"x")])
@example([(b"memory_expiration-days", b"x")])
def test_no_header_outside_the_list_goes_up(sent: list[tuple[bytes, bytes]]) -> None:
    try:
        fields = read(sent)
    except Refusal as refused:
        assert refused.status == 400
        return
    up = lines(upward(fields, KEY))
    assert {name for name, _ in up} <= UP | OURS
    assert len({name for name, _ in up}) == len(up)
    assert [text for name, text in up if name == b"authorization"] == [
        b"Bearer " + KEY.reveal().encode()
    ]


@given(pairs)
def test_no_header_outside_the_list_comes_down(said: list[tuple[bytes, bytes]]) -> None:
    passed = downward(said)
    assert {name for name, _ in passed} <= headers._DOWN
    assert not {name for name, _ in passed} & NEVER_DOWN
    kept = [(name.lower(), text) for name, text in said if name.lower() in headers._DOWN]
    assert passed == kept


def test_strangers_cannot_fill_the_memory_with_names() -> None:
    for number in range(5000):
        read([(b"X-%d" % number + b"x" * 60_000, b"")])
        downward([(b"X-%d" % number + b"x" * 60_000, b"")])
    for names in (headers._request_names, headers._answer_names):
        assert sum(map(len, names)) < 200_000


def test_strangers_cannot_keep_the_usual_names_from_being_remembered() -> None:
    for number in range(5000):
        read([(b"X-%d" % number, b"")])
    read([(b"Content-TYPE", b"a")])
    assert b"Content-TYPE" in headers._request_names


def test_what_a_connection_header_names_ends_here() -> None:
    """RFC 9110, 7.6.1, in both directions."""
    said = [(b"Connection", b"close, X-Team-Id"), (b"X-Team-Id", b"t"), (b"X-Provider", b"p")]
    up = dict(lines(upward(read(said), KEY)))
    assert b"x-team-id" not in up
    assert up[b"x-provider"] == b"p"
    answer = [(b"X-Cost", b"1"), (b"ETag", b"e"), (b"Connection", b"keep-alive, x-cost")]
    assert downward(answer) == [(b"etag", b"e")]
