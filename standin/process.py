"""Starts the stand-in as a process of its own, for tests and the demo; standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

_ROOT = Path(__file__).resolve().parent.parent
_GREETING = "standin listening on "
# Longer than the server waits, so that its own answer about a missed moment comes through.
_PATIENCE = 5.0

Json = dict[str, Any]


class NeverHappened(AssertionError):
    """What a test waited for did not come in time; the message holds what was seen instead."""


class StandIn:
    """A stand-in in a process of its own.

    ::

        with StandIn() as nano:
            ask(nano.base_url)
            (seen,) = nano.requests()
            nano.wait_closed(seen["number"])
    """

    def __init__(
        self, *arguments: str, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """`arguments` go to the command; with a certificate, which must be its own CA, it
        speaks TLS."""
        self._arguments = arguments
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.create_default_context(cafile=str(certificate))
            self._arguments += ("--certificate", str(certificate), "--key", str(key))
        self._process: subprocess.Popen[str] | None = None
        self.host = ""
        self.port = 0

    def start(self) -> Self:
        """Start it and wait until it listens; `RuntimeError` when it does not."""
        command: Sequence[str] = (
            sys.executable, "-m", "standin", "--port", "0", "--until-eof", *self._arguments,
        )  # fmt: skip
        # Its own session, so that Ctrl-C in a terminal reaches the owner alone, who then stops it;
        # its standard input is how it learns that the owner is gone without having done so.
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.startswith(_GREETING):
            self.stop()
            raise RuntimeError(f"the stand-in did not start: {line!r}")
        place = urlsplit(line.removeprefix(_GREETING))
        self.host, self.port = place.hostname or "", place.port or 0
        return self

    def stop(self) -> None:
        """End the process; harmless when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the stand-in is not running"
        return self._process.pid

    @property
    def origin(self) -> str:
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What `UPSTREAM_URL` is set to."""
        return f"{self.origin}/api/v1"

    def requests(self, since: int = 0, *, path: str | None = None) -> list[Json]:
        """What was received after request number `since`, oldest first."""
        found: list[Json] = self._ask("GET", "requests", {"since": since})["requests"]
        return [one for one in found if path is None or one["path"].endswith(path)]

    def clear(self) -> int:
        """Forget what was received and the bad keys; the number of the last request so far."""
        return int(self._ask("DELETE", "requests")["last"])

    def state(self) -> Json:
        """`last`, `in_flight`, `peak`, `connections`."""
        return self._ask("GET", "state")

    def order(self, scenarios: dict[str, str]) -> None:
        """Let paths below `/api/v1` (`*`: all) play scenarios whatever is asked; `{}` ends it."""
        self._ask("PUT", "scenarios", body=json.dumps(scenarios).encode())

    def wait_for(self, number: int, event: str, timeout: float = 10) -> Json:
        """Request `number`, once `event` has come for it; `at` is its monotonic time."""
        return self._wait(timeout, n=number, event=event)

    def wait_next(
        self, since: int, event: str = "received", *, path: str | None = None, timeout: float = 10
    ) -> Json:
        """The first request after number `since` (on `path`), once `event` has come for it."""
        narrowed = {} if path is None else {"path": path}
        return self._wait(timeout, since=since, event=event, **narrowed)

    def wait_closed(self, number: int, timeout: float = 10) -> float:
        """When the connection of request `number` ended, by `time.monotonic()`."""
        return float(self.wait_for(number, "closed", timeout)["at"])

    def wait_until(self, timeout: float = 10, **limits: int) -> Json:
        """The state, once `in_flight` or `connections` is so many, or at least `in_flight_min`
        are in flight, or the last number is at least `count`."""
        return self._wait(timeout, **limits)

    def _wait(self, timeout: float, **query: object) -> Json:
        asked = {"timeout": timeout, **query}
        found = self._ask("GET", "requests/wait", asked, patience=timeout)
        if not found["happened"]:
            raise NeverHappened(f"{query} did not happen in {timeout} s, but: {found}")
        return found

    def _ask(
        self,
        method: str,
        door: str,
        query: Json | None = None,
        *,
        body: bytes = b"",
        patience: float = 0,
    ) -> Json:
        seconds = patience + _PATIENCE
        line = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        if self._tls:
            line = http.client.HTTPSConnection(
                self.host, self.port, timeout=seconds, context=self._tls
            )
        with contextlib.closing(line):
            line.request(method, f"/__standin/{door}?{urlencode(query or {})}", body)
            answer = line.getresponse()
            found: Json = json.loads(answer.read())
        if answer.status not in (200, 408):
            raise RuntimeError(f"{method} {door}: {answer.status} {found}")
        return found
