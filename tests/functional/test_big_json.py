"""However large and nasty a body is, it does not hold up anybody's stream."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pytest

from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy
from tests.functional.wire import head_of

CHAT = "/v1/chat/completions"
MIB = 1024 * 1024
SIZE = 32 * MIB
DELAY = 0.1
PACE = 0.01


def filled(start: bytes, piece: bytes, end: bytes, size: int = SIZE) -> bytes:
    """A body of exactly this size; it is wrong at its very end, so it never goes up."""
    times = (size - 1 - len(start) - len(end)) // len(piece)
    body = start + piece * times + end
    return body + b" " * (size - 1 - len(body)) + b"!"


# What is read slowly is as nasty when it is smaller.
NASTY: dict[str, Callable[[], bytes]] = {
    "one long string": lambda: filled(b'{"a":"', b"x", b'"}'),
    "escapes": lambda: filled(b'{"a":"', b"\\u00e9\\n", b'"}'),
    "characters": lambda: filled(b'{"a":"', "日本é".encode(), b'"}'),
    "numbers": lambda: filled(b'{"a":[', b"1,", b"1]}"),
    "long numbers": lambda: filled(b'{"a":[', b"-1234567890.0123456789e-123,", b"1]}"),
    "one very long number": lambda: filled(b'{"a":', b"1", b"}"),
    "open brackets": lambda: filled(b'{"a":', b"[", b""),
    "nested arrays": lambda: b'{"a":' + b"[" * (SIZE // 2 - 9) + b"]" * (SIZE // 2 - 9) + b"}!",
    "nested objects": lambda: filled(b"{", b'"a":{', b"", MIB),
    "empty arrays": lambda: filled(b'{"a":[', b"[],", b"[]]}"),
    "empty objects": lambda: filled(b'{"a":[', b"{},", b"{}]}"),
    "keys": lambda: filled(b"{", b'"k":1,', b'"k":1}'),
    "small objects": lambda: filled(b'{"a":[', b'{"a":[1,{"b":null}]},', b"1]}", MIB),
    "blanks": lambda: filled(b"{", b" \n\t\r", b"}"),
    "blanks between": lambda: filled(b'{"a":[', b"1 ,\n", b"1]}"),
    "almost strings": lambda: filled(b'{"a":[', b'"\\\\",', b'""]}'),
    "words": lambda: filled(b'{"a":[', b"true,false,null,", b"1]}"),
    "small and deep": lambda: filled(b'{"a":[', b"[[[1]]],", b"1]}", MIB),
    "just too large to be judged at once": lambda: filled(
        b'{"a":[', b'{"k":[1,{"b":null}]},', b"1]}", 120_000
    ),
}


class Heart:
    """A stream whose pieces come steadily, and the longest time between two of them."""

    def __init__(self, proxy: Proxy) -> None:
        self._line = proxy.connect()
        self._thread = threading.Thread(target=self._beat)
        self._running = True
        self.longest = 0.0

    def __enter__(self) -> Self:
        body = json.dumps({"model": f"standin/paced:100000:{PACE}", "stream": True}).encode()
        pairs = BOB.headers(("Content-Length", str(len(body))))
        self._line.send(head_of("POST", CHAT, pairs) + body)
        assert self._line.head().status == 200
        self._line.piece()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self._line.reset()

    def _beat(self) -> None:
        last = time.monotonic()
        while self._running:
            self._line.piece()
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


@pytest.fixture(scope="module")
def proxy(start_session: Start) -> Proxy:
    return start_session()


def refused(proxy: Proxy, body: bytes, times: int = 1) -> None:
    with proxy.connect(timeout=60) as line:
        for _ in range(times):
            answer = line.ask("POST", CHAT, ALICE.headers(), body)
            assert (answer.status, answer.code) == (400, "invalid_json")


@pytest.mark.parametrize("kind", NASTY)
def test_no_body_delays_a_stream_by_more_than_100_ms(proxy: Proxy, kind: str) -> None:
    body = NASTY[kind]()
    with Heart(proxy) as heart:
        refused(proxy, body, times=max(1, MIB // len(body) // 4))
    assert heart.longest - PACE < DELAY


def test_many_at_once_delay_a_stream_no_more_than_one(proxy: Proxy) -> None:
    kinds = ["small objects", "nested objects", "small and deep", "nested arrays"]
    bodies = [NASTY[kind]() for kind in kinds]
    with Heart(proxy) as heart, ThreadPoolExecutor(len(bodies)) as threads:
        for done in [threads.submit(refused, proxy, body) for body in bodies]:
            done.result()
    assert heart.longest - PACE < DELAY


def test_a_body_whose_client_has_left_is_judged_no_further(proxy: Proxy) -> None:
    endless = filled(b'{"a":[', b'{"a":[1,{"b":null}]},', b"1]}")
    with proxy.connect(timeout=60) as leaves:
        pairs = ALICE.headers(("Content-Length", str(len(endless))))
        leaves.send(head_of("POST", CHAT, pairs) + endless)
        while proxy.unread_of(leaves):
            time.sleep(0.01)  # the kernel tells of its queues only when asked
        leaves.reset()
    refused(proxy, NASTY["keys"]())  # it had its turn, long before the other would have ended
    proxy.wait_said("outcome=client_gone")


def test_a_large_body_that_is_good_goes_up(proxy: Proxy) -> None:
    start = b'{"model":"standin/echo","a":"'
    body = start + b"x" * (SIZE - len(start) - 2) + b'"}'
    with proxy.connect(timeout=60) as line:
        said = line.ask("POST", CHAT, ALICE.headers(), body).json["echo"]
    assert said["body_length"] == SIZE
