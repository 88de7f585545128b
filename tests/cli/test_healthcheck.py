"""`healthcheck` asks the running proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Cli = Callable[..., Any]


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port where one connection gets this answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(4096).startswith(b"GET /health/ready HTTP/1.1\r\n")
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(5)
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - that is the point
@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status":"ready"}', 0, "ready\n"),
        (
            b'HTTP/1.1 503 X\r\nContent-Length: 20\r\n\r\n{"problems":["why"]}',
            1,
            'nanogpt-proxy: error: not ready: 503 {"problems":["why"]}\n',
        ),
        (b"SSH-2.0-OpenSSH\r\n", 1, "no HTTP from 127.0.0.1"),
        (b"", 1, "127.0.0.1"),
    ],
)
def test_it_tells_ready_from_not(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, host: str, answer: bytes, code: int, said: str
) -> None:
    with answering(answer) as port:
        monkeypatch.setenv("PROXY_HOST", host)
        monkeypatch.setenv("PROXY_PORT", str(port))
        done = cli("healthcheck")
    assert done.code == code
    assert said in (done.err if code else done.out)
    assert (done.out == "") is (code == 1)


def test_nobody_there_is_a_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("PROXY_PORT", str(port))
    done = cli("healthcheck")
    assert done.code == 1
    assert "Connection refused" in done.err


def test_a_port_that_the_kernel_chose_is_not_known(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_PORT", "0")
    assert cli("healthcheck").code == 2
