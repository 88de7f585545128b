"""Nobody ever gets another's bytes or pays with another's key, whatever goes wrong meanwhile."""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from standin.process import Json, StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy, User
from tests.functional.wire import PART, Answer, chunk, head_of

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions"
MULTIPART = "multipart/form-data; boundary=b"
WORKERS, CALLS = 16, 250
USERS = (ALICE, BOB)


def other(user: User) -> User:
    return BOB if user is ALICE else ALICE


class Caller:
    """A connection of Open WebUI's pool: everybody's calls go over it in turn."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        self._proxy = proxy
        self._random = random.Random(seed)
        self._line = proxy.connect()
        self.done: collections.Counter[str] = collections.Counter()

    def run(self, calls: int) -> None:
        for _ in range(calls):
            deed = self._random.choice(DEEDS)
            deed(self, self._random.choice(USERS))
            self.done[deed.__name__] += 1
        self._line.close()

    def send(self, user: User, scenario: str, *, stream: bool = False) -> bytes:
        """The body that was sent; it says whose call this is, for the recorder to hold."""
        salt = self._random.randrange(10**9)
        said = {"model": f"standin/{scenario}", "stream": stream, "who": user.email, "salt": salt}
        body = json.dumps(said).encode()
        pairs = user.headers(("Content-Length", str(len(body))))
        self._line.send(head_of("POST", CHAT, pairs) + body)
        return body

    def hear(self, user: User) -> Answer:
        answer = self._line.answer()
        assert b'"stray"' not in answer.body
        assert other(user).digest[:8].encode() not in answer.body
        return answer

    def leave(self) -> None:
        self._line.reset()
        self._line = self._proxy.connect()

    # What a user may do.

    def echo(self, user: User) -> None:
        body = self.send(user, "echo")
        said = self.hear(user).json["echo"]
        assert said["key_sha256"] == user.digest
        assert said["body_sha256"] == hashlib.sha256(body).hexdigest()

    def pipeline(self, user: User) -> None:
        """Two users' calls at once on one connection."""
        users = (user, other(user), user)
        sent = [self.send(one, "echo") for one in users]
        for one, body in zip(users, sent, strict=True):
            said = self.hear(one).json["echo"]
            assert said["key_sha256"] == one.digest
            assert said["body_sha256"] == hashlib.sha256(body).hexdigest()

    def stream(self, user: User) -> None:
        self.send(user, "paced:9:0.001", stream=True)
        body = self.hear(user).body
        found = [body.find(f" {user.digest[:8]}:{i}".encode()) for i in range(9)]
        assert found == sorted(found)
        assert min(found) > 0
        assert body.endswith(b"data: [DONE]\n\n")

    def big(self, user: User) -> None:
        self.send(user, "big:200k:chunked")
        body = self.hear(user).body
        assert len(body) == 200 * 1024
        assert set(body[: 17 * 1000].split(b"\n")[:-1]) == {user.digest[:16].encode()}

    def stray(self, user: User) -> None:
        self.send(user, "stray-bytes:now:answer")
        assert self.hear(user).status == 200

    def stray_after_stream(self, user: User) -> None:
        self.send(user, "stray-bytes:now:answer", stream=True)
        assert self.hear(user).body.endswith(b"data: [DONE]\n\n")

    def junk(self, user: User) -> None:
        self.send(user, "stray-bytes:now:junk")
        assert b"STRAY" not in self.hear(user).body

    def broken(self, user: User) -> None:
        self.send(user, "abrupt:event:fin", stream=True)
        assert b"upstream_disconnected" in self.hear(user).body

    def no_answer(self, user: User) -> None:
        self.send(user, "die-before-head")
        assert self.hear(user).status == 502

    def closing(self, user: User) -> None:
        self.send(user, "close")
        assert self.hear(user).status == 200

    def early(self, user: User) -> None:
        """The answer comes while most of the request is still to be sent."""
        how = self._random.choice(["keep", "close", "abort", "hold"])
        target = f"{UPLOAD}?scenario=early-answer:{how}"
        length = ("Content-Length", str(len(PART) + 30000))
        pairs = user.headers(length, kind=MULTIPART)
        self._line.send(head_of("POST", target, pairs) + PART + bytes(500))
        assert self.hear(user).json["key_sha256"] == user.digest
        self._line.send(bytes(29500))

    def upload(self, user: User) -> None:
        data = self._random.randbytes(20_000)
        part = b'Content-Disposition: form-data; name="file"; filename="file"\r\n\r\n' + data
        body = b"--b\r\n" + part + b"\r\n--b--\r\n"
        pairs = user.headers(("Transfer-Encoding", "chunked"), kind=MULTIPART)
        self._line.send(head_of("POST", f"{UPLOAD}?scenario=upload", pairs))
        for start in range(0, len(body), 7000):
            self._line.send(chunk(body[start : start + 7000]))
        self._line.send(b"0\r\n\r\n")
        said = self.hear(user).json["upload"]
        assert said["sha256"] == hashlib.sha256(body).hexdigest()

    def refused(self, user: User) -> None:
        self._line.send(head_of("GET", "/v1/nowhere", user.headers()))
        assert self.hear(user).status == 404

    def leave_early(self, user: User) -> None:
        self.send(user, "slow:0.05")
        self.leave()

    def leave_in_mid_stream(self, user: User) -> None:
        self.send(user, "paced:50:0.002", stream=True)
        self._line.head()
        self._line.piece()
        self.leave()

    def leave_in_mid_upload(self, user: User) -> None:
        length = ("Content-Length", "100000")
        pairs = user.headers(length, kind=MULTIPART)
        self._line.send(head_of("POST", UPLOAD, pairs) + PART + bytes(500))
        self.leave()

    def leave_in_mid_answer(self, user: User) -> None:
        self.send(user, "big:4m")
        self._line.head()
        self.leave()


DEEDS: list[Callable[[Caller, User], None]] = [
    Caller.echo, Caller.echo, Caller.echo, Caller.pipeline, Caller.stream, Caller.big,
    Caller.stray, Caller.stray_after_stream, Caller.junk, Caller.broken, Caller.no_answer,
    Caller.closing, Caller.early, Caller.upload, Caller.refused, Caller.leave_early,
    Caller.leave_in_mid_stream, Caller.leave_in_mid_upload, Caller.leave_in_mid_answer,
]  # fmt: skip


@pytest.mark.parametrize("upstream_connections", [4000, 5])
def test_thousands_of_interleaved_calls_stay_apart(
    nano: StandIn, start: Start, upstream_connections: int
) -> None:
    proxy = start(UPSTREAM_CONNECTIONS=upstream_connections)
    since = nano.state()["last"]
    callers = [Caller(proxy, seed) for seed in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as threads:
        for done in [threads.submit(caller.run, CALLS) for caller in callers]:
            done.result()
    nano.wait_until(in_flight=0)
    check_payers(nano.requests(since))
    total = sum((caller.done for caller in callers), collections.Counter())
    assert sum(total.values()) == WORKERS * CALLS


def check_payers(seen: list[Json]) -> None:
    """Each call came once, with the key of the user who made it."""
    keys = {user.email: user.key for user in USERS}
    salts = []
    for one in seen:
        assert one["key"] in keys.values()
        if one["path"].endswith("/chat/completions") and one["body"]["complete"]:
            said = json.loads(base64.b64decode(one["body"]["base64"]))
            assert one["key"] == keys[said["who"]]
            salts.append(said["salt"])
    assert len(salts) > 1000
    assert len(salts) == len(set(salts))
