"""The way to NanoGPT over TLS, directly or through the operator's proxy."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from standin.process import StandIn
from tests.functional.conftest import Start
from tests.functional.running import ALICE, BOB, Proxy
from tests.functional.wire import Wire, events, head_of
from tests.standin.test_process import certificate

CHAT = "/v1/chat/completions"
UPLOAD = "/v1/audio/transcriptions?scenario=upload"
MULTIPART = "multipart/form-data; boundary=b"
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    + bytes(range(256)) * 20_000
    + b"\r\n--b--\r\n"
)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(papers: tuple[Path, Path]) -> Iterator[StandIn]:
    with StandIn(certificate=papers[0], key=papers[1]) as nano:
        yield nano


@pytest.fixture(scope="module")
def proxy(start_session: Start, secure: StandIn, papers: tuple[Path, Path]) -> Proxy:
    return start_session(UPSTREAM_URL=secure.base_url, UPSTREAM_CA_FILE=papers[0])


@pytest.fixture
def since(secure: StandIn) -> int:
    last: int = secure.state()["last"]
    return last


@pytest.fixture
def line(proxy: Proxy) -> Iterator[Wire]:
    with proxy.connect() as line:
        yield line


def body_of(scenario: str, *, stream: bool = False) -> bytes:
    return json.dumps({"model": f"standin/{scenario}", "stream": stream}).encode()


def test_calls_and_streams_go_over_one_connection(secure: StandIn, line: Wire, since: int) -> None:
    for user in (ALICE, BOB):
        said = line.ask("POST", CHAT, user.headers(), body_of("echo")).json["echo"]
        assert said["key_sha256"] == user.digest
        streamed = line.ask("POST", CHAT, user.headers(), body_of("paced:20:0", stream=True))
        assert events(streamed.body)[-1] == b"data: [DONE]"
        uploaded = line.ask("POST", UPLOAD, user.headers(kind=MULTIPART), PARTS)
        assert uploaded.json["upload"]["sha256"] == hashlib.sha256(PARTS).hexdigest()
        large = line.ask("POST", CHAT, user.headers(), body_of("big:5m"))
        assert len(large.body) == 5 * 1024 * 1024
    assert len({seen["connection"] for seen in secure.requests(since)}) == 1


def test_the_connection_rules_hold_under_tls(secure: StandIn, line: Wire, since: int) -> None:
    for scenario in ("stray-bytes:now:answer", "stray-bytes:now:junk", "close", "until-close"):
        answer = line.ask("POST", CHAT, ALICE.headers(), body_of(scenario))
        assert answer.status == 200
        assert b'"stray"' not in answer.body
    broken = line.ask("POST", CHAT, ALICE.headers(), body_of("abrupt:event", stream=True))
    assert b'"upstream_disconnected"' in broken.body
    found = [seen["connection"] for seen in secure.requests(since)]
    assert len(set(found)) == len(found)


def test_an_end_without_tls_closure_is_no_end(line: Wire) -> None:
    """Anybody on the way could have cut it there, were it believed."""
    answer = line.ask("POST", CHAT, ALICE.headers(), body_of("die-before-head:0:reset"))
    assert (answer.status, answer.code) == (502, "upstream_disconnected")


def test_who_leaves_is_noticed_under_tls(secure: StandIn, proxy: Proxy, since: int) -> None:
    with proxy.connect() as line:
        body = body_of("paced:1000:0.02", stream=True)
        line.send(head_of("POST", CHAT, ALICE.headers(("Content-Length", str(len(body))))) + body)
        line.head()
        line.piece()
        left = time.monotonic()
        line.reset()
        number = secure.requests(since)[0]["number"]
        assert secure.wait_closed(number) - left < 0.1


def unreachable(proxy: Proxy) -> None:
    with proxy.connect() as line:
        answer = line.ask("POST", CHAT, ALICE.headers(), body_of("ok"))
    assert (answer.status, answer.code) == (502, "upstream_unreachable")
    assert answer.get("x-should-retry") is None


def test_a_certificate_that_nobody_vouches_for_is_refused(
    start: Start, secure: StandIn, since: int
) -> None:
    unreachable(start(UPSTREAM_URL=secure.base_url))
    assert secure.state()["last"] == since


def test_a_certificate_of_another_authority_is_refused(
    start: Start, secure: StandIn, since: int, tmp_path: Path
) -> None:
    other, _ = certificate(tmp_path)
    unreachable(start(UPSTREAM_URL=secure.base_url, UPSTREAM_CA_FILE=other))
    assert secure.state()["last"] == since


def test_a_certificate_for_another_name_is_refused(
    start: Start, secure: StandIn, papers: tuple[Path, Path], since: int
) -> None:
    url = f"https://localhost:{secure.port}/api/v1"
    unreachable(start(UPSTREAM_URL=url, UPSTREAM_CA_FILE=papers[0]))
    assert secure.state()["last"] == since


def test_a_server_without_tls_is_refused(start: Start, nano: StandIn) -> None:
    unreachable(start(UPSTREAM_URL=f"https://127.0.0.1:{nano.port}/api/v1", CONNECT_TIMEOUT=2))


class Tunnel:
    """An HTTP proxy that knows CONNECT alone; `heads` is what it was asked."""

    def __init__(self, status: str = "200 Connection established") -> None:
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heads: list[bytes] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._tunnel, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _tunnel(self, near: socket.socket) -> None:
        with near:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            self.heads.append(head)
            near.sendall(f"HTTP/1.1 {self._status}\r\nX-A: b\r\n\r\n".encode())
            if not self._status.startswith("200"):
                return
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as far:
                back = threading.Thread(target=pump, args=(far, near), daemon=True)
                back.start()
                pump(near, far)
                back.join(5)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    one = Tunnel()
    yield one
    one.close()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_is_asked_for_a_tunnel_and_sees_nothing_else(
    start: Start, secure: StandIn, papers: tuple[Path, Path], tunnel: Tunnel, name: str
) -> None:
    url = {"UPSTREAM_URL": secure.base_url, "UPSTREAM_CA_FILE": papers[0]}
    proxy = start(**url, **{name: f"http://127.0.0.1:{tunnel.port}"})
    with proxy.connect() as line:
        for _ in range(2):
            said = line.ask("POST", CHAT, ALICE.headers(), body_of("echo")).json["echo"]
            assert said["key_sha256"] == ALICE.digest
    (head,) = tunnel.heads
    place = f"127.0.0.1:{secure.port}"
    assert head == f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()
    proxy.stop()


def test_a_proxy_gets_its_own_password(
    start: Start, secure: StandIn, papers: tuple[Path, Path], tunnel: Tunnel
) -> None:
    proxy = start(
        UPSTREAM_URL=secure.base_url,
        UPSTREAM_CA_FILE=papers[0],
        HTTPS_PROXY=f"http://me:s%40cret-word@127.0.0.1:{tunnel.port}",
    )
    with proxy.connect() as line:
        assert line.ask("POST", CHAT, ALICE.headers(), body_of("ok")).status == 200
    expected = base64.b64encode(b"me:s@cret-word")
    assert b"Proxy-Authorization: Basic " + expected + b"\r\n" in tunnel.heads[0]
    proxy.stop()
    for secret in ("s%40cret-word", "s@cret-word", expected.decode()):
        assert secret not in proxy.said


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "example.com, 127.0.0.1"])
def test_who_is_exempt_is_reached_without_the_proxy(
    start: Start, secure: StandIn, papers: tuple[Path, Path], tunnel: Tunnel, exempt: str
) -> None:
    proxy = start(
        UPSTREAM_URL=secure.base_url,
        UPSTREAM_CA_FILE=papers[0],
        HTTPS_PROXY=f"http://127.0.0.1:{tunnel.port}",
        NO_PROXY=exempt,
    )
    with proxy.connect() as line:
        assert line.ask("POST", CHAT, ALICE.headers(), body_of("ok")).status == 200
    assert tunnel.heads == []


def test_plain_http_goes_without_the_proxy(start: Start, tunnel: Tunnel) -> None:
    proxy = start(HTTPS_PROXY=f"http://127.0.0.1:{tunnel.port}")
    with proxy.connect() as line:
        assert line.ask("POST", CHAT, ALICE.headers(), body_of("ok")).status == 200
    assert tunnel.heads == []


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_that_refuses_is_a_bad_gateway(
    start: Start, secure: StandIn, since: int, status: str
) -> None:
    refusing = Tunnel(status)
    unreachable(
        start(UPSTREAM_URL=secure.base_url, HTTPS_PROXY=f"http://127.0.0.1:{refusing.port}")
    )
    refusing.close()
    assert secure.state()["last"] == since


def test_a_proxy_that_is_not_there_is_a_bad_gateway(start: Start, secure: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    unreachable(start(UPSTREAM_URL=secure.base_url, HTTPS_PROXY=f"http://127.0.0.1:{port}"))


def test_a_large_upload_over_tls_takes_little_memory(proxy: Proxy, line: Wire) -> None:
    line.ask("POST", UPLOAD, ALICE.headers(kind=MULTIPART), PARTS)
    proxy.forget_memory_peak()
    before = proxy.memory()
    size = 60_000_000
    line.send(head_of("POST", UPLOAD, ALICE.headers(("Content-Length", str(size)), kind=MULTIPART)))
    opening, end = PARTS[:100], b"\r\n--b--\r\n"
    line.send(opening)
    for _ in range(599):
        line.send(bytes(100_000))
    line.send(bytes(100_000 - len(opening) - len(end)) + end)
    assert line.answer().json["upload"]["length"] == size
    assert proxy.memory_peak() - before < 16_000_000
