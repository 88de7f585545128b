"""The headers of one part of an upload: which field it is, and what its file is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.members import IDENTITY

_line = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)").fullmatch
_kind = re.compile(rb"[^;\"]*+").match
_parameter = re.compile(
    rb'[ \t]*;[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*+"|[^\s;"]*+)'
).match
_extension = re.compile(rb'\.[A-Za-z0-9]{1,5}(?="?\Z)').search
_separator = re.compile(r"[\[.]")

_Parameters = dict[bytes, re.Match[bytes]]


def invalid(reason: str) -> Refusal:
    return Refusal(400, "invalid_multipart", f"The upload is no proper multipart body: {reason}.")


def neutral(head: bytes) -> bytes | None:
    """The headers as they may go up, `None` for a field that may not. Raises `Refusal` (400)."""
    lines, fields = [], []
    for line in head.split(b"\r\n"):
        match = _line(line)
        if match is None:
            raise invalid("a part has a header that is none")
        name, value = match[1].lower(), match[2]
        if name == b"content-disposition":
            parameters = _parameters(value)
            fields.append(_field(value, parameters))
            line = match[1] + b":" + _renamed(value, parameters, b"filename")
        elif name == b"content-type" and value.strip().lower().startswith(b"multipart/"):
            raise invalid("a part holds parts of its own")
        elif name == b"content-type" and b"name" in value.lower():
            line = match[1] + b":" + _renamed(value, _parameters(value), b"name")
        lines.append(line)
    if len(fields) != 1:
        raise invalid("a part does not have one Content-Disposition")
    return None if _identifies(fields[0]) else b"\r\n".join(lines)


def _parameters(value: bytes) -> _Parameters:
    found: _Parameters = {}
    for match in _each(value):
        name = match[1].lower()
        if name in found or (b"*" in name and name not in (b"filename*", b"name*")):
            raise invalid("a part's header says something twice")
        found[name] = match
    return found


def _each(value: bytes) -> Iterator[re.Match[bytes]]:
    start = _kind(value)
    at = start.end() if start else 0
    while match := _parameter(value, at):
        at = match.end()
        yield match
    if value[at:].strip(b" \t") not in (b"", b";"):
        raise invalid("a part's header cannot be read")


def _field(value: bytes, parameters: _Parameters) -> str:
    """The field's name. Anything that parsers are known to read differently is refused."""
    if value.partition(b";")[0].strip().lower() != b"form-data":
        raise invalid("a part is not form-data")
    match = parameters.get(b"name")
    if match is None or b"name*" in parameters:
        raise invalid("a part does not have one plain name")
    name = match[2].removeprefix(b'"').removesuffix(b'"')
    if b"\\" in name or b"=?" in name or any(byte < 0x20 for byte in name):
        raise invalid("a part's name is written in an odd way")
    return name.decode("utf-8", "replace")


def _identifies(field: str) -> bool:
    """Whether it is one of the names, or a part of one: `metadata[user_id]`, `trace.id`."""
    return _separator.split(unquote(field))[0].strip(" '\"") in IDENTITY


def _renamed(value: bytes, parameters: _Parameters, kind: bytes) -> bytes:
    """The header's value with a neutral file name; the extension stays, it tells the format."""
    forms = ((kind, b'"file%b"'), (kind + b"*", b"UTF-8''file%b"))
    places = [(parameters[name], form) for name, form in forms if name in parameters]
    # From the end, so that the places before stay where they are.
    for match, form in sorted(places, key=lambda place: -place[0].start()):
        if match[2] not in (b"", b'""'):
            extension = _extension(match[2])
            new = form % (extension[0] if extension else b"")
            value = value[: match.start(2)] + new + value[match.end(2) :]
    return value
