"""Whose key pays: the way from headers to an account."""

from __future__ import annotations

from typing import Any

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.admission import SERVICE, Admission
from nanogpt_proxy.gateway.headers import read
from nanogpt_proxy.gateway.routes import Match, match
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.models import Account, Secret
from nanogpt_proxy.settings.parse import SERVICE_ROUTES
from tests.gateway.conftest import KEY, People, make_settings

EMAIL = b"X-OpenWebUI-User-Email"
ALICE = Account("1" * 32, "alice@example.com", False, Secret(KEY))
SERVICE_KEY = "sk-nano-5e41ce00-0000-4000-8000-000000000000"
CHAT = match(b"POST", b"/v1/chat/completions")
EMBEDDINGS = match(b"POST", b"/v1/embeddings")


class Door:
    """An admission and what it needs."""

    def __init__(self, **settings: Any) -> None:
        self.people = People()
        self.people.known[ALICE.email] = ALICE
        self.counters = Counters()
        directory: Any = self.people
        self.admission = Admission(make_settings(**settings), directory, self.counters)

    def admit(self, *sent: tuple[bytes, bytes], to: Match = CHAT) -> Any:
        return self.admission.admit(read(sent), to.route)

    def refusal(self, *sent: tuple[bytes, bytes], to: Match = CHAT) -> tuple[int, str]:
        with pytest.raises(Refusal) as caught:
            self.admit(*sent, to=to)
        return caught.value.status, caught.value.code


def test_a_known_user_is_admitted_from_memory() -> None:
    assert Door().admit((EMAIL, b"Alice@example.com")) is ALICE


@pytest.mark.parametrize(
    ("account", "refusal"),
    [
        (None, (401, "key_not_enrolled")),
        (Account("2" * 32, "bob@example.com", False, None), (401, "key_not_enrolled")),
        (Account("2" * 32, "bob@example.com", True, Secret(KEY)), (403, "user_disabled")),
        (Account("2" * 32, "bob@example.com", True, None), (403, "user_disabled")),
    ],
)
def test_who_cannot_pay_is_refused(account: Account | None, refusal: tuple[int, str]) -> None:
    door = Door()
    door.people.known["bob@example.com"] = account
    assert door.refusal((EMAIL, b"bob@example.com")) == refusal


def service(**changed: Any) -> Door:
    given = {"anonymous_calls": "service", "service_api_key": Secret(SERVICE_KEY)} | changed
    return Door(**given)


def test_a_call_for_nobody_is_denied_and_counted() -> None:
    door = Door(service_api_key=Secret(SERVICE_KEY))
    assert door.refusal(to=EMBEDDINGS) == (401, "identity_missing")
    assert door.counters.anonymous() == {("embeddings", False): 1}


def test_a_call_for_nobody_is_paid_by_the_service_where_that_is_wanted() -> None:
    door = service()
    account = door.admit(to=EMBEDDINGS)
    assert (account.id, account.open_key) == (SERVICE, Secret(SERVICE_KEY))
    assert door.refusal(to=CHAT) == (401, "identity_missing")
    assert door.counters.anonymous() == {
        ("embeddings", True): 1,
        ("chat/completions", False): 1,
    }


@pytest.mark.parametrize(
    "sent",
    [
        (EMAIL, b""),
        (EMAIL, b"nobody"),
        (EMAIL, b"stranger@example.com"),
        (b"X-OpenWebUI-User-Id", b"1"),
        (b"X-OpenWebUI-User-Name", b"Alice"),
        (b"X-OpenWebUI-User-Role", b"pending"),
        (b"X-OpenWebUI-User-Jwt", b"forged"),
        (b"X-OpenWebUI-User-Jwt", b""),
    ],
)
def test_a_bad_identity_is_never_served_as_nobody(sent: tuple[bytes, bytes]) -> None:
    for secret in (None, Secret("s" * 32)):
        door = service(openwebui_jwt_secret=secret)
        assert door.refusal(sent, to=EMBEDDINGS)[0] == 401
        assert door.counters.anonymous() == {}


def test_every_route_that_the_service_may_pay_is_one() -> None:
    for name in SERVICE_ROUTES:
        assert match(b"POST", b"/v1/" + name.encode()).route.name == name
