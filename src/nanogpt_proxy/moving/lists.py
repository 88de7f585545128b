"""Lists of e-mails and keys: JSON as other proxies export it, and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

from nanogpt_proxy.errors import ProxyError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.moving.entries import Row

_COLUMNS = ("email", "api_key")


class JsonList:
    """`[{"email": …, "api_key": …}, …]`; what else the objects hold is passed over."""

    asks_for = None

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def rows(self, secret: Secret | None) -> list[Row]:
        return [_of_object(number, item) for number, item in enumerate(self._items, 1)]


def _of_object(number: int, item: Any) -> Row:
    where = f"entry {number}"
    if not isinstance(item, dict) or not all(isinstance(item.get(c), str) for c in _COLUMNS):
        raise ProxyError(f'{where}: is not an object with the texts "email" and "api_key"')
    return Row(where, item["email"], item["api_key"])


class CsvList:
    """E-mail and key, separated by commas or semicolons; a first row may name the columns."""

    asks_for = None

    def __init__(self, text: str) -> None:
        self._text = text

    def rows(self, secret: Secret | None) -> list[Row]:
        first = self._text.lstrip().partition("\n")[0]
        delimiter = ";" if ";" in first and "," not in first else ","
        lines = self._text.splitlines()
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            found = [(f"line {reader.line_num}", cells) for cells in reader if any(cells)]
        except csv.Error as error:
            raise ProxyError(f"line {reader.line_num}: is not CSV ({error})") from None
        email, key = 0, 1
        names = [cell.strip().lower() for cell in found[0][1]] if found else []
        if all(column in names for column in _COLUMNS):
            email, key = map(names.index, _COLUMNS)
            del found[0]
        return [_of_cells(where, cells, email, key) for where, cells in found]


def _of_cells(where: str, cells: Sequence[str], email: int, key: int) -> Row:
    if len(cells) <= max(email, key):
        raise ProxyError(f"{where}: has no two columns, e-mail and key")
    return Row(where, cells[email], cells[key].strip())
