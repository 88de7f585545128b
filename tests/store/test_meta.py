"""Contract: named values."""

from __future__ import annotations

from nanogpt_proxy.store import Store


async def test_a_value_is_set_and_replaced(store: Store, second: Store) -> None:
    assert await store.meta.get("name") is None
    await store.meta.set("name", "one")
    await store.meta.set("other", "else")
    assert await second.meta.get("name") == "one"
    await second.meta.set("name", "two")
    assert await store.meta.get("name") == "two"


async def test_the_first_to_set_it_wins(store: Store, second: Store) -> None:
    assert await store.meta.set_if_absent("name", "first") == "first"
    assert await second.meta.set_if_absent("name", "second") == "first"
    assert await store.meta.get("name") == "first"
