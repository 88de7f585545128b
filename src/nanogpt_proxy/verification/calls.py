"""Every kind of call, with canaries in every header and body place."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

from nanogpt_proxy.gateway.routes import Body, served
from nanogpt_proxy.verification.bodies import FORM, MARK, form, forms, json_bodies
from nanogpt_proxy.verification.canaries import Canaries

_JSON = b"application/json"
_WORDS = (
    "X-OpenWebUI-User-Name", "X-OpenWebUI-Chat-Id", "X-OpenWebUI-Message-Id",
    "X-OpenWebUI-Auth-Type", "Cookie", "User-Agent", "Referer", "HTTP-Referer", "Origin", "From",
    "X-Forwarded-Host", "X-Forwarded-User", "X-Forwarded-Email", "Forwarded", "Via", "X-Title",
    "X-Request-ID", "Traceparent", "Baggage", "Sentry-Trace", "Proxy-Authorization",
    "Accept-Language", "Accept-Encoding", "If-None-Match", "X-Remote-User", "X-Unknown",
    "x_unknown", "Content-Language", "Priority", "Trailer",
)  # fmt: skip
_ADDRESSES = ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP")


@dataclass(frozen=True, slots=True)
class Call:
    """`goes_up`: it must reach NanoGPT, or nothing is proved; others may be refused."""

    what: str
    data: bytes
    goes_up: bool


class Caller:
    """Writes requests as Open WebUI would, were it as talkative as can be."""

    def __init__(self, canaries: Canaries, token: str, email: str) -> None:
        self._canaries = canaries
        self._who = [f"Authorization: Bearer {token}", f"X-OpenWebUI-User-Email: {email}"]
        host = canaries.new("header Host")
        self._talk = [f"Host: {host}.example", "Connection: close"]
        self._talk += [f"{name}: {canaries.new('header ' + name)}" for name in _WORDS]
        for number, name in enumerate(_ADDRESSES):
            self._talk.append(f"{name}: {canaries.add('header ' + name, f'203.0.113.{number}7')}")

    def calls(self, padding: int) -> Iterator[Call]:
        """All of them; long bodies have `padding` more bytes."""
        for method, path, body in served():
            what = f"{method} {path}"
            if body is Body.NONE:
                yield Call(what, self._request(what), goes_up=True)
                continue
            for how, data in json_bodies(self._canaries, padding):
                yield Call(f"{what}, {how}", self._sized(what, _JSON, data), goes_up=True)
            if body is Body.UPLOAD:
                for how, data in forms(self._canaries, padding):
                    yield Call(f"{what}, {how}", self._sized(what, FORM, data), goes_up=True)
                    chunked = self._chunked(what, FORM, data)
                    yield Call(f"{what}, {how}, in chunks", chunked, goes_up=True)
        yield from self._odd_calls()

    def _odd_calls(self) -> Iterator[Call]:
        chat, upload = "POST /v1/chat/completions", "POST /v1/audio/transcriptions"
        for how, data in self._odd_json():
            yield Call(f"odd: {how}", self._sized(chat, _JSON, data), goes_up=False)
        for how, data in self._odd_forms():
            yield Call(f"odd: {how}", self._sized(upload, FORM, data), goes_up=False)
        good = f'{{"model":"m","input":"{MARK}"}}'.encode()
        for header in ("X_OpenWebUI_User_Email", "X-OpenWebUI-User-Email", "X-Api-Key"):
            line = f"{header}: {self._canaries.new('odd header ' + header)}"
            yield Call(f"odd: a second {header}", self._sized(chat, _JSON, good, line), False)
        word = self._canaries.new("gzip")
        packed = gzip.compress(f'{{"model":"m","user":"{word}"}}'.encode())
        coded = self._sized(chat, _JSON, packed, "Content-Encoding: gzip")
        yield Call("odd: a compressed body", coded, goes_up=False)
        trailer = f"X-User: {self._canaries.new('trailer')}\r\n".encode()
        yield Call("odd: a trailer", self._chunked(chat, _JSON, good, trailer), goes_up=False)
        yield Call("odd: a list for all", self._request("GET /v1/models"), goes_up=False)
        path = f"GET /v1/{self._canaries.new('unknown path')}"
        yield Call("odd: a path that is not served", self._request(path), goes_up=False)
        inner = f"GET http://{self._canaries.new('user in the target')}@x.example/v1/responses/r"
        yield Call("odd: a target with a user", self._request(inner), goes_up=False)

    def _odd_json(self) -> Iterator[tuple[str, bytes]]:
        def word(place: str) -> str:
            return self._canaries.new(f"odd: {place}")

        user = f'{{"model":"m","user":"{word("UTF-16")}"}}'
        yield "UTF-16", user.encode("utf-16")
        yield "a byte order mark", f'\ufeff{{"model":"m","user":"{word("mark")}"}}'.encode()
        yield "no JSON", f'{{"user":"{word("no JSON")}",}}'.encode()
        yield "NaN", f'{{"n":NaN,"user":"{word("NaN")}"}}'.encode()
        yield "a lone surrogate", f'{{"s":"\\ud800","user":"{word("surrogate")}"}}'.encode()
        yield "a big number", f'{{"n":{"9" * 999},"user":"{word("number")}"}}'.encode()

    def _odd_forms(self) -> Iterator[tuple[str, bytes]]:
        def word(place: str) -> str:
            return self._canaries.new(f"odd: {place}")

        disposition = "Content-Disposition: form-data; "
        good = form([f'{disposition}name="prompt"\r\n\r\n{MARK}\r\n'])
        yield "text before the form", word("preamble").encode() + b"\r\n" + good
        yield "text behind the form", good + word("epilogue").encode()
        for how, head in (
            ("a coded name", f"{disposition}name*=utf-8''us%65r"),
            ("a name in pieces", f'{disposition}name*0="us"; name*1="er"'),
            ("two names", f'{disposition}name="a"; name="user"'),
            ("an escaped name", f'{disposition}name="us\\er"'),
            ("a folded header", f'{disposition}\r\n name="user"'),
            ("lines without returns", f'{disposition}name="user"\n\nx'),
            ("a form in the form", f'{disposition}name="a"\r\nContent-Type: multipart/mixed'),
        ):
            yield how, form([f"{head}\r\n\r\n{word(how)}\r\n"])

    def _request(self, start: str, *lines: str, body: bytes = b"") -> bytes:
        head = [f"{start} HTTP/1.1", *self._who, *self._talk, *lines]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def _sized(self, start: str, kind: bytes, body: bytes, *lines: str) -> bytes:
        fields = [f"Content-Type: {kind.decode()}", f"Content-Length: {len(body)}", *lines]
        return self._request(start, *fields, body=body)

    def _chunked(self, start: str, kind: bytes, body: bytes, trailer: bytes = b"") -> bytes:
        fields = [f"Content-Type: {kind.decode()}", "Transfer-Encoding: chunked"]
        size = max(7, len(body) // 50)
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return self._request(start, *fields, body=chunks + b"0\r\n" + trailer + b"\r\n")
