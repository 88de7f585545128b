"""Hop 7: the request goes up, on a connection of the pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nanogpt_proxy.gateway import headers
from nanogpt_proxy.gateway.bodies import PassedBody
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.refusals import unreachable
from nanogpt_proxy.gateway.routes import Match
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request
from nanogpt_proxy.gateway.upstream import AnswerSink, Failure, UpstreamConnection
from nanogpt_proxy.models import Secret

# A request no larger than this is kept until its answer: it costs less than to forget it.
_KEPT = 16 * 1024


class Owner(AnswerSink, Protocol):
    """Whose request it is."""

    def guard(self, step: Callable[[], None]) -> None:
        """Runs what may raise a `Refusal`, and answers with it."""


class Sending:
    """Takes one request up: whole, or as its body comes. Implements `Waiter`.

    Never twice: a call that may have reached NanoGPT costs the user money.
    """

    def __init__(
        self,
        context: Context,
        client: ClientConnection,
        request: Request,
        owner: Owner,
    ) -> None:
        self._context = context
        self._client = client
        self._request = request
        self._owner: Owner | None = owner
        self._data = b""
        self._passed: PassedBody | None = None
        self._connection: UpstreamConnection | None = None
        self._in_queue = False
        self._is_full = False
        self.answer_paused = False
        """The client reads more slowly than NanoGPT answers."""
        self.went_up = False
        """Something of the request may have reached NanoGPT."""

    def address(self, match: Match, key: Secret) -> None:
        """Makes the head for NanoGPT, but for the line that frames the body."""
        request, origin = self._request, self._context.pool.origin
        target = origin.path + match.path + (b"?" + match.query if match.query else b"")
        line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, target, origin.authority)
        self._data = line + headers.upward(request.fields, key)

    def whole(self, body: bytes) -> None:
        """Sends a request whose body is at hand."""
        bodiless = not body and self._request.method != b"POST"
        framing = b"" if bodiless else b"content-length: %d\r\n" % len(body)
        self._data = b"%b%b\r\n%b" % (self._data, framing, body)
        self._acquire()

    def passing(self, body: PassedBody) -> None:
        """Sends a request whose body is passed on as it comes."""
        self._data += body.FRAMING + b"\r\n"
        self._passed = body
        self._acquire()

    def body_arrived(self) -> bool:
        """Passes on what came; `False` when there is nowhere to pass it yet."""
        if self._passed is None or self._connection is None:
            return False
        self._pass_on(self._passed, self._connection)
        return True

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._in_queue = False
        self._guard(lambda: self._send(connection))

    def upstream_failed(self, failure: Failure) -> None:
        """No connection could be made: nothing of the request went up."""
        self._in_queue = False
        refusal = unreachable(failure)

        def refuse() -> None:
            raise refusal

        self._guard(refuse)

    def again(self) -> None:
        """The connection ended before anything left: another one, if all is still at hand."""
        self._connection = None
        self.went_up = False
        if self._data:
            self._guard(self._acquire)
        else:
            self.upstream_failed(Failure.CLOSED)

    def full(self) -> None:
        """NanoGPT reads more slowly than the body comes."""
        self._is_full = True
        if self._passed is not None:
            self._client.pause_reading()
            self._client.expect(Phase.UPSTREAM, self._context.settings.first_byte_timeout)

    def drained(self) -> None:
        self._is_full = False
        if self._passed is not None:
            self._client.resume_reading()
            self._client.expect(Phase.BODY, self._context.settings.body_timeout)

    def pause_answer(self) -> None:
        self.answer_paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume_answer(self) -> None:
        self.answer_paused = False
        if self._connection is not None:
            self._connection.resume()

    def ended(self) -> None:
        """The connection has done its work, or broke: it is not ours any more."""
        self._connection = None
        self._data = b""

    def drop(self) -> None:
        """Leaves the queue, or ends the connection at once."""
        if self._in_queue:
            self._context.pool.forget(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
        self._passed = None
        self._data = b""
        self._owner = None  # it knows us: without the cycle no collector is needed

    def _acquire(self) -> None:
        self._client.expect(Phase.UPSTREAM, self._context.settings.first_byte_timeout)
        connection = self._context.pool.acquire(self)
        if connection is not None:
            self._send(connection)
        else:
            self._in_queue = True

    def _forget(self) -> None:
        self._data = b""

    def _guard(self, step: Callable[[], None]) -> None:
        if self._owner is not None:
            self._owner.guard(step)

    def _send(self, connection: UpstreamConnection) -> None:
        owner = self._owner
        if owner is None:
            self._context.pool.release(connection)
            return
        self._connection = connection
        self.went_up = True
        passed = self._passed
        connection.begin(
            owner, self._data, whole=passed is None, release=self._context.pool.release
        )
        if len(self._data) > _KEPT:
            self._context.loop.call_soon(self._forget)  # after the outbox has made its writes
        if passed is not None:
            self._data = b""
            self._client.resume_reading()
            self._pass_on(passed, connection)

    def _pass_on(self, passed: PassedBody, connection: UpstreamConnection) -> None:
        settings, complete = self._context.settings, self._request.complete
        data = passed.arrived()
        if complete:
            self._passed = None
            connection.sent_whole()
            self._client.expect(Phase.UPSTREAM, settings.first_byte_timeout)
        elif not self._is_full:  # what one read brought may come in several pieces
            self._client.expect(Phase.BODY, settings.body_timeout)
        if data:
            connection.send(data)
