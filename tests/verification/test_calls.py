"""The calls reach every route, as HTTP."""

from __future__ import annotations

import httptools

from nanogpt_proxy.gateway.routes import served
from nanogpt_proxy.verification.calls import Call, Caller
from nanogpt_proxy.verification.canaries import Canaries


class Heard:
    def __init__(self, data: bytes) -> None:
        self.names: list[str] = []
        self.whole = False
        self.path = b""
        httptools.HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.append(name.decode().lower())

    def on_message_complete(self) -> None:
        self.whole = True


def made() -> tuple[Canaries, list[Call]]:
    canaries = Canaries()
    return canaries, list(Caller(canaries, "npt-token", "alice@example.com").calls(1000))


def test_every_route_is_called_and_every_call_is_whole() -> None:
    canaries, calls = made()
    reached = set()
    for call in calls:
        heard = Heard(call.data)
        assert heard.whole, call.what
        assert {"cookie", "x-forwarded-for", "x-openwebui-user-name"} <= set(heard.names)
        assert len(canaries.found(call.data)) > 30
        if call.goes_up:
            reached.add(heard.path.decode())
    assert reached == {path for _, path, _ in served()}


def test_calls_can_be_told_apart() -> None:
    _, calls = made()
    assert len({call.what for call in calls}) == len(calls) > 200
    assert sum(not call.goes_up for call in calls) >= 20
