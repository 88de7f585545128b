"""Bodies with a canary in every place that may identify somebody, in many spellings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from nanogpt_proxy.gateway.members import IDENTITY
from nanogpt_proxy.verification.canaries import Canaries

NAMES = sorted(IDENTITY)
BOUNDARY = "q7Nz0Rk2"
FORM = f"multipart/form-data; boundary={BOUNDARY}".encode()
MARK = "this goes up"
"""Stands where users' words stand: without it nothing would have been proved."""

Spelling = Callable[[str], str]


def _escaped(name: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in name)


_SPELLINGS: dict[str, Spelling] = {
    "plain": lambda name: name,
    "one letter escaped": lambda name: _escaped(name[0]) + name[1:],
    "all letters escaped": _escaped,
    "escaped in capitals": lambda name: "".join(f"\\u{ord(char):04X}" for char in name),
}
_SPACES = {"": "", " in a narrow column": "\r\n\t", " with blanks": "  "}


def json_bodies(canaries: Canaries, padding: int) -> Iterator[tuple[str, bytes]]:
    """JSON bodies, each with what is special about it; the last one has `padding` more bytes."""
    own = f'"model":"m","input":"{MARK}","messages":[{{"role":"user","content":"{MARK}"}}]'
    for kind, spell in _SPELLINGS.items():
        for around, space in _SPACES.items():
            what = f"JSON, {kind}{around}"
            members = [
                f'{space}"{spell(name)}"{space}:{space}{_value(canaries, what, name)}{space}'
                for name in NAMES
            ]
            cut = len(members) // 2
            yield what, _object([*members[:cut], own, *members[cut:]])
    what = "JSON, names twice"
    twice = [f'"{name}":{_value(canaries, what, name)}' for name in NAMES * 2]
    yield what, _object([own, *twice])
    what = "JSON, long and deep"
    filling = '"filling":"' + "x" * padding + '","deep":' + "[" * 500 + "]" * 500
    yield what, _object([twice[0], own, filling, *twice[1:]])


def _object(members: list[str]) -> bytes:
    return ("{" + ",".join(members) + "}").encode()


def _value(canaries: Canaries, what: str, name: str) -> str:
    word = canaries.new(f"{name} ({what})")
    return json.dumps({"user_id": word, "more": [word]} if name == "metadata" else word)


def forms(canaries: Canaries, padding: int) -> Iterator[tuple[str, bytes]]:
    """Uploads, each with what is special about it; some have `padding` more bytes."""
    spellings: dict[str, Spelling] = {
        "quoted": lambda name: f'name="{name}"',
        "unquoted": lambda name: f"name={name}",
        "with brackets": lambda name: f'NAME="{name}[user_id]"',
        "percent-coded": lambda name: f'name="%{ord(name[0]):02X}{name[1:]}"',
    }
    for kind, spell in spellings.items():
        for size in (0, padding):
            what = f"form, {kind}{', long' if size else ''}"
            parts = [_part(spell(name), canaries.new(f"{name} ({what})")) for name in NAMES]
            parts.insert(3, _part('name="prompt"', MARK))
            parts.insert(5, _file(canaries, what, "filename", "x" * size))
            parts.append(_file(canaries, what, "filename*", ""))
            yield what, form(parts)


def form(parts: list[str]) -> bytes:
    """An upload of these parts."""
    return "".join([*(f"--{BOUNDARY}\r\n{part}" for part in parts), f"--{BOUNDARY}--\r\n"]).encode()


def _part(parameters: str, value: str, more: str = "") -> str:
    return f"Content-Disposition: form-data; {parameters}{more}\r\n\r\n{value}\r\n"


def _file(canaries: Canaries, what: str, parameter: str, data: str) -> str:
    word = canaries.new(f"{parameter} ({what})")
    named = f'="{word} of Alice.mp3"' if parameter == "filename" else f"=UTF-8''{word}%20x.mp3"
    return _part('name="file"', data, f"; {parameter}{named}")
