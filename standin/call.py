"""One request being served: what came, who sent it, and what it asks for."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qs

from aiohttp import web

from standin.answers import json_bytes
from standin.bodies import Intake
from standin.recorder import Json, Record, Recorder

_WORDS = re.compile(r"\s*\S+")
_HIDDEN = ("authorization", "x-api-key")
_SIZES = {"k": 1024, "m": 1024 * 1024}


@dataclass(frozen=True, slots=True)
class Order:
    """A scenario with its arguments, as in `standin/silent:3`."""

    name: str
    args: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Order:
        name, *args = text.removeprefix("standin/").split(":")
        return cls(name, tuple(args))

    def word(self, index: int, default: str) -> str:
        return self.args[index] if index < len(self.args) and self.args[index] else default

    def number(self, index: int, default: float) -> float:
        return float(self.word(index, str(default)))

    def size(self, index: int, default: int) -> int:
        """A number of bytes; `k` and `m` count in KiB and MiB."""
        text = self.word(index, str(default)).lower()
        return int(text.rstrip("km")) * _SIZES.get(text[-1], 1)


PLAIN = Order("ok")


@dataclass(eq=False, slots=True)
class Line:
    """A connection: how many requests came on it, and how many are being served now."""

    number: int
    turns: int = 0
    busy: int = 0


@dataclass(eq=False)
class Call:
    """One request. `json` is empty unless it carried JSON, `parts` unless it was multipart."""

    request: web.BaseRequest
    record: Record
    recorder: Recorder
    intake: Intake
    line: Line
    protocol: str
    order: Order = PLAIN
    json: Json = field(default_factory=dict)
    pace: float = 0.0

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself; `ConnectionResetError` when it is gone."""
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError("the client has left")
        return transport

    @property
    def parts(self) -> list[Json]:
        return self.record.parts

    @property
    def key(self) -> str:
        return self.record.key or ""

    @property
    def key_digest(self) -> str:
        """SHA-256 of the key in hex, so that an answer proves who was served, without the key."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def model(self) -> str:
        return self.record.model or "standin/ok"

    @property
    def stream(self) -> bool:
        return self.json.get("stream") is True

    @cached_property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.record.query, keep_blank_values=True)

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the query, or the field of that name in a multipart body."""
        if name in self.query:
            return self.query[name][-1]
        texts = [part["text"] for part in self.parts if part["name"] == name and "text" in part]
        return texts[-1] if texts else default

    @cached_property
    def text(self) -> str:
        """What the model says, as one text."""
        if self.order.name == "echo":
            return json_bytes(self.echo()).decode()
        if self.order.name == "upload":
            return json_bytes(self.uploaded()).decode()
        if self.order.name == "paced":
            owner = self.key_digest[:8]
            return "".join(f" {owner}:{i}" for i in range(int(self.order.number(0, 20))))
        if self.order.name == "split-utf8":
            return "Grüße, 世界! 🦊🚀 Ωμέγα — ñandú. " * 3
        return f"Hello from the stand-in. You said: {self._last_words() or 'nothing'}"

    @property
    def deltas(self) -> Sequence[str]:
        """What the model says, piece by piece."""
        return _WORDS.findall(self.text) or [self.text]

    def echo(self) -> Json:
        """What was received, with digests that prove whose answer this is."""
        headers = [(k, "(hidden)" if k.lower() in _HIDDEN else v) for k, v in self.record.headers]
        return {
            "number": self.record.number,
            "method": self.record.method,
            "path": self.record.path,
            "query": self.record.query,
            "headers": headers,
            "key_sha256": self.key_digest,
            "body_sha256": self.record.body.sha256,
            "body_length": self.record.body.length,
        }

    def uploaded(self) -> Json:
        """Length and hash of the body and of each part."""
        body = self.record.body
        return {"length": body.length, "sha256": body.sha256, "parts": self.parts}

    def extra(self) -> Json:
        """What `echo` and `upload` add to the JSON answer of any route."""
        if self.order.name == "echo":
            return {"echo": self.echo()}
        return {"upload": self.uploaded()} if self.order.name == "upload" else {}

    def _last_words(self) -> str:
        said = self.json.get("messages") or self.json.get("input") or self.json.get("prompt") or ""
        return _text_of(said)[:2000]


def _text_of(said: object) -> str:
    """The text of the last message, in any of the shapes that the protocols know."""
    while isinstance(said, list) and said:
        said = said[-1]
        if isinstance(said, dict):
            said = said.get("content") or said.get("text") or ""
    return said if isinstance(said, str) else ""
