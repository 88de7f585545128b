"""Model lists: the same for everybody, from memory, and rather stale than none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import nanogpt_proxy
from standin.catalogue import TEXT_MODELS
from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, TOKEN, Proxy
from tests.functional.wire import Answer, Wire

MODELS = "/v1/models"
LISTS = ["models", "embedding-models", "image-models", "audio-models", "video-models"]
BEARER = [("Authorization", f"Bearer {TOKEN}")]
DEADLINE = 8.0


@pytest.fixture
def order(nano: StandIn) -> Iterator[StandIn]:
    """Scenarios that a test orders end with it."""
    yield nano
    nano.order({})


@pytest.fixture
def since(nano: StandIn) -> int:
    last: int = nano.state()["last"]
    return last


def get(proxy: Proxy, path: str = MODELS) -> Answer:
    with proxy.connect() as line:
        return line.ask("GET", path, BEARER)


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200
    return [entry["id"] for entry in answer.json["data"]]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_fetched_once_without_a_key_or_a_callers_header(
    nano: StandIn, start: Start, since: int, name: str
) -> None:
    proxy = start()
    pairs = [
        ("X-Provider", "x"), ("Accept", "text/html"), ("Cookie", "a=b"), ("Anthropic-Beta", "b"),
        ("X-Api-Key", "sk"), ("User-Agent", "u"), ("X-Team-Id", "t"),
    ]  # fmt: skip
    with proxy.connect() as line:
        first = line.ask("GET", f"/v1/{name}", ALICE.headers(*pairs))
        second = line.ask("GET", f"/v1/{name}", BOB.headers())
        nobody = line.ask("GET", f"/v1/{name}", BEARER)
    assert first.status == 200
    assert first.get("content-type") == "application/json"
    assert first.body == second.body == nobody.body
    (seen,) = nano.requests(since)
    assert seen["path"] == f"/api/v1/{name}"
    assert {key.lower(): value for key, value in seen["headers"]} == {
        "host": f"{nano.host}:{nano.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"nanogpt-proxy/{nanogpt_proxy.__version__}",
    }


def test_a_list_needs_the_token(line: Wire) -> None:
    for name in LISTS:
        assert line.ask("GET", f"/v1/{name}").status == 401
    assert line.ask("GET", f"{MODELS}/standin/ok").status == 401


def test_only_known_keys_of_the_query_make_another_list(
    nano: StandIn, start: Start, since: int
) -> None:
    proxy = start()
    plain = [get(proxy, f"{MODELS}{query}").body for query in ("", "?", "?x=1", "?detailed=maybe")]
    detailed = [
        get(proxy, f"{MODELS}?{query}").body
        for query in ("detailed=true", "detailed=true&x=2", "y&detailed=true")
    ]
    assert len(set(plain)) == len(set(detailed)) == 1
    assert plain[0] != detailed[0]
    assert [seen["query"] for seen in nano.requests(since)] == ["", "detailed=true"]


@pytest.mark.parametrize("query", ["", "?detailed=true"])
@pytest.mark.parametrize("name", LISTS)
def test_pipeline_is_never_relayed(gateway: Proxy, name: str, query: str) -> None:
    answer = get(gateway, f"/v1/{name}{query}")
    assert ids(answer)
    assert b'"pipeline"' not in answer.body


def test_all_else_is_relayed(gateway: Proxy) -> None:
    assert ids(get(gateway)) == [name for name, _ in TEXT_MODELS]
    detailed = get(gateway, f"{MODELS}?detailed=true").json
    assert detailed["object"] == "list"
    entry = detailed["data"][0]
    assert entry["pricing"]["prompt"] == 2.5
    assert entry["description"].startswith("Äußerst")


@pytest.mark.parametrize("name", [name for name, _ in TEXT_MODELS])
def test_a_model_is_found_however_its_name_is_written(gateway: Proxy, name: str) -> None:
    for spelled in (name, name.replace("/", "%2F"), name.replace("/", "%2f").replace(":", "%3A")):
        answer = get(gateway, f"{MODELS}/{spelled}")
        assert answer.status == 200
        assert answer.json["id"] == name
        assert "pipeline" not in answer.json


def test_a_model_is_looked_up_in_the_list(nano: StandIn, start: Start, since: int) -> None:
    proxy = start()
    for _ in range(2):
        assert get(proxy, f"{MODELS}/standin/ok").status == 200
        unknown = get(proxy, f"{MODELS}/no/such")
        assert (unknown.status, unknown.code) == (404, "model_not_found")
    assert [seen["path"] for seen in nano.requests(since)] == ["/api/v1/models"]


def test_many_who_ask_at_once_cause_one_call(order: StandIn, start: Start, since: int) -> None:
    proxy = start()
    order.order({"/models": "slow:0.5"})
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: get(proxy), range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len(order.requests(since)) == 1


def test_who_leaves_takes_the_list_from_nobody(order: StandIn, start: Start, since: int) -> None:
    proxy = start()
    order.order({"/models": "slow:0.3"})
    with proxy.connect() as leaves:
        leaves.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\n\r\n" % TOKEN.encode())
        order.wait_next(since)
    assert get(proxy).status == 200
    assert len(order.requests(since)) == 1


def test_a_list_is_fresh_for_so_long(nano: StandIn, start: Start, since: int) -> None:
    proxy = start(MODELS_TTL=0.3)
    get(proxy)
    get(proxy)
    assert len(nano.requests(since)) == 1
    time.sleep(0.35)  # time is what it is about
    get(proxy)
    assert len(nano.requests(since)) == 2


FAILURES = [
    "503",
    "500",
    "html-error",
    "402",
    "die-before-head",
    "abrupt:between",
    "bad-head",
    "204",
]


def path_of(scenario: str) -> str:
    """A list for each, as one that failed is not asked for again at once."""
    number = [*FAILURES, "slow:60"].index(scenario)
    query = "?detailed=true" if number >= len(LISTS) else ""
    return f"/v1/{LISTS[number % len(LISTS)]}{query}"


@pytest.fixture(scope="module")
def forgetful(start_session: Start) -> Proxy:
    """Takes no list for fresh."""
    return start_session(MODELS_TTL=0.01)


@pytest.fixture(scope="module")
def bare(start_session: Start) -> Proxy:
    """Has never seen a list."""
    return start_session()


@pytest.mark.parametrize("scenario", [*FAILURES, "slow:60"])
def test_a_stale_list_is_better_than_none(order: StandIn, forgetful: Proxy, scenario: str) -> None:
    before = get(forgetful, path_of(scenario))
    assert before.status == 200
    order.order({"*": scenario})
    began = time.monotonic()
    for _ in range(3):
        after = get(forgetful, path_of(scenario))
        assert (after.status, after.body) == (200, before.body)
    assert time.monotonic() - began < DEADLINE


@pytest.mark.parametrize("scenario", FAILURES)
def test_without_any_list_there_is_a_clear_answer(
    order: StandIn, bare: Proxy, scenario: str
) -> None:
    order.order({"*": scenario})
    answer = get(bare, path_of(scenario))
    assert (answer.status, answer.code) == (503, "models_unavailable")
    assert answer.get("retry-after") is not None


@pytest.mark.slow
def test_whatever_happens_an_answer_comes_within_eight_seconds(
    order: StandIn, start: Start
) -> None:
    proxy = start()
    order.order({"/models": "slow:60", "/image-models": "silent:60", "/audio-models": "bad-chunk"})
    paths = [MODELS, "/v1/image-models", "/v1/audio-models", f"{MODELS}/standin/ok"]
    began = time.monotonic()
    with ThreadPoolExecutor(len(paths)) as threads:
        answers = list(threads.map(lambda path: get(proxy, path), paths))
    assert time.monotonic() - began < DEADLINE
    assert {answer.status for answer in answers} == {503}
    assert None not in {answer.get("retry-after") for answer in answers}


def test_nanogpt_is_asked_again_once_it_may_answer(order: StandIn, start: Start) -> None:
    proxy = start(MODELS_TTL=0.05)
    before = get(proxy)
    order.order({"/models": "503"})
    time.sleep(0.06)  # time is what it is about
    assert get(proxy).body == before.body
    order.order({})
    since = order.state()["last"]
    began = time.monotonic()
    while not order.requests(since):
        assert get(proxy).status == 200
        assert time.monotonic() - began < DEADLINE
        time.sleep(0.2)
