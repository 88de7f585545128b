"""Lists of e-mails and keys, as JSON and as CSV."""

from __future__ import annotations

from typing import Any

import pytest

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.moving.lists import CsvList, JsonList

PAIRS = [("a@x", "key-a"), ("b@x", "key-b")]


def pairs(source: JsonList | CsvList) -> list[tuple[str, str | None]]:
    return [(row.email, row.key) for row in source.rows(None)]


def test_json_objects_may_hold_more() -> None:
    items = [{"email": "a@x", "api_key": "key-a", "id": 7}, {"api_key": "key-b", "email": "b@x"}]
    assert pairs(JsonList(items)) == PAIRS
    assert pairs(JsonList([])) == []


@pytest.mark.parametrize("item", [1, None, [], {}, {"email": "a@x"}, {"email": 1, "api_key": "k"}])
def test_other_json_is_named_by_its_place(item: Any) -> None:
    with pytest.raises(ProxyError, match=r"^entry 2: "):
        JsonList([{"email": "a@x", "api_key": "k"}, item]).rows(None)


@pytest.mark.parametrize(
    "text",
    [
        "a@x,key-a\nb@x,key-b\n",
        "a@x,key-a\r\n\r\nb@x , key-b",
        "email,api_key\na@x,key-a\nb@x,key-b\n",
        "Name;API_Key;EMAIL\nA;key-a;a@x\nB;key-b;b@x\n",
        '"a@x","key-a"\n"b@x","key-b"\n',
        "a@x;key-a\nb@x;key-b\n",
    ],
)
def test_csv_comes_in_many_shapes(text: str) -> None:
    assert [(email.strip(), key) for email, key in pairs(CsvList(text))] == PAIRS


def test_nothing_is_no_users() -> None:
    assert pairs(CsvList("")) == pairs(CsvList("email,api_key\n")) == []


@pytest.mark.parametrize("text", ["a@x,k\nb@x\n", 'a@x,k\nb@x,"open\n', 'a@x,k\nb@x,"a"b\n'])
def test_other_text_is_named_by_its_place(text: str) -> None:
    with pytest.raises(ProxyError, match=r"^line 2: "):
        CsvList(text).rows(None)
