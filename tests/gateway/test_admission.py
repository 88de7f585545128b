"""Whose key pays: the way from headers to an account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.directory import Directory
from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.admission import SERVICE, Admission
from nanogpt_proxy.gateway.headers import read
from nanogpt_proxy.gateway.rejection import Rejections
from nanogpt_proxy.gateway.routes import Match, match
from nanogpt_proxy.metrics import Counters
from nanogpt_proxy.models import Account, Secret
from nanogpt_proxy.settings.parse import SERVICE_ROUTES
from nanogpt_proxy.store import Store
from nanogpt_proxy.vault import Vault
from tests.gateway.conftest import KEY, People, make_settings

VAULT = Vault(Secret("0123456789abcdef" * 4))
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
        loop: Any = None  # nothing is written down here
        rejections = Rejections(directory, loop)
        self.admission = Admission(make_settings(**settings), directory, rejections, self.counters)

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


class House:
    """An admission before a real directory, to bind users of Open WebUI."""

    def __init__(self, store: Store, directory: Directory, **settings: Any) -> None:
        self.store = store
        self.accounts = Accounts(store, VAULT)
        rejections = Rejections(directory, asyncio.get_running_loop())
        self.admission = Admission(make_settings(**settings), directory, rejections, Counters())

    async def ask(self, email: str, id: str | None) -> str:
        """What becomes of a call: the e-mail of the account that pays, or the code."""
        sent = [(EMAIL, email.encode())]
        if id is not None:
            sent.append((b"X-OpenWebUI-User-Id", id.encode()))
        try:
            found = self.admission.admit(read(sent), CHAT.route)
            account = found if isinstance(found, Account) else await found()
        except Refusal as refusal:
            assert refusal.code != "identity_changed" or refusal.status == 403
            return refusal.code
        return account.email

    async def waits(self, email: str, id: str | None) -> bool:
        """Whether such a call has to wait."""
        sent = [(EMAIL, email.encode())]
        sent += [(b"X-OpenWebUI-User-Id", id.encode())] if id else []
        return not isinstance(self.admission.admit(read(sent), CHAT.route), Account)


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[tuple[Store, Directory]]:
    store = await Store.open(tmp_path / "proxy.db")
    directory = Directory(store, VAULT, interval=60)
    await directory.start()
    yield store, directory
    await directory.stop()
    await store.close()


A, B, C = "alice@example.com", "bob@example.com", "carol@example.com"
CHANGED, UNKNOWN = "identity_changed", "key_not_enrolled"
STORIES: list[tuple[str, list[tuple[str, str | None, str]]]] = [
    ("the same user", [(A, "1", A), (A, "1", A)]),
    ("another id", [(A, "1", A), (A, "2", CHANGED), (A, "1", A)]),
    ("no id once bound", [(A, None, A), (A, "1", A), (A, None, CHANGED)]),
    ("never an id", [(A, None, A), (A, None, A)]),
    ("two users", [(A, "1", A), (B, "2", B), (A, "1", A)]),
    ("another's free account", [(A, "1", A), (B, "1", CHANGED), (B, "2", B)]),
    ("another's bound account", [(A, "1", A), (B, "2", B), (B, "1", CHANGED), (A, "2", CHANGED)]),
    ("a new e-mail", [(A, "1", A), (C, "1", C), (C, "1", C), (A, "1", C + " again")]),
    ("a new e-mail, then a stranger", [(A, "1", A), (C, "1", C), (A, "2", UNKNOWN)]),
    ("a stranger", [(C, "3", UNKNOWN), (C, "3", UNKNOWN), (C, None, UNKNOWN)]),
]


@pytest.mark.parametrize(("name", "story"), STORIES, ids=[name for name, _ in STORIES])
async def test_one_user_of_open_webui_has_one_account(
    name: str, story: list[tuple[str, str | None, str]], directory: tuple[Store, Directory]
) -> None:
    house = House(*directory)
    for email in (A, B):
        await house.accounts.add(email, Secret(KEY))
    for email, id, expected in story:
        found = await house.ask(email, id)
        if expected.endswith(" again"):  # and back
            assert found == email
        else:
            assert found == expected


async def test_a_bound_user_waits_for_nothing_any_more(
    directory: tuple[Store, Directory],
) -> None:
    house = House(*directory)
    await house.accounts.add(A, Secret(KEY))
    assert await house.ask(A, None) == A
    assert await house.waits(A, "1")
    await house.ask(A, "1")
    assert not await house.waits(A, "1")


async def test_of_many_first_calls_at_once_all_are_served(
    directory: tuple[Store, Directory],
) -> None:
    house = House(*directory)
    await house.accounts.add(A, Secret(KEY))
    assert await asyncio.gather(*(house.ask(A, "1") for _ in range(8))) == [A] * 8
    both = await asyncio.gather(house.ask(B, "2"), house.ask(B, "3"))
    assert set(both) == {UNKNOWN}


async def test_after_unbinding_the_next_user_has_it(directory: tuple[Store, Directory]) -> None:
    house = House(*directory)
    await house.accounts.add(A, Secret(KEY))
    await house.ask(A, "1")
    await house.accounts.unbind(A)
    await directory[1]._follow()
    assert await house.ask(A, "2") == A
    assert await house.ask(A, "1") == CHANGED


async def test_binding_can_be_switched_off(directory: tuple[Store, Directory]) -> None:
    house = House(*directory, bind_identity=False)
    await house.accounts.add(A, Secret(KEY))
    for id in ("1", "2", None):
        assert await house.ask(A, id) == A
    assert await house.ask(C, "1") == UNKNOWN
    assert not await house.waits(A, "3")
    (stored,) = await house.accounts.list()
    assert stored.bound_id is None


async def test_a_disabled_account_is_not_bound(directory: tuple[Store, Directory]) -> None:
    house = House(*directory)
    await house.accounts.add(A, Secret(KEY))
    await house.accounts.disable(A)
    assert await house.ask(A, "1") == "user_disabled"
    (stored,) = await house.accounts.list()
    assert stored.bound_id is None


async def test_a_move_is_told_in_the_log(
    directory: tuple[Store, Directory], caplog: pytest.LogCaptureFixture
) -> None:
    house = House(*directory)
    added = await house.accounts.add(A, Secret(KEY))
    await house.ask(A, "1")
    await house.ask(C, "1")
    (record,) = caplog.records
    assert record.getMessage() == "an account has moved to its user's new e-mail"
    assert record.__dict__["fields"] == {"account": added.id}
