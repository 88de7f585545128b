"""One request and its answer, from the head to the settlement. Read it from top to bottom.

Nothing here waits: the client's connection, the upstream connection and the directory call in
when something has happened. Whatever happens, `_settle` runs exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from nanogpt_proxy.directory import NOT_LOADED
from nanogpt_proxy.errors import Refusal, StoreError, VaultError
from nanogpt_proxy.gateway import answers, headers, json_body, refusals, routes
from nanogpt_proxy.gateway.bodies import HeldBody, PassedBody
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.identity import who
from nanogpt_proxy.gateway.local import Answer, answer_locally
from nanogpt_proxy.gateway.reply import Reply
from nanogpt_proxy.gateway.routes import Body, Kind, Match
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request
from nanogpt_proxy.gateway.upstream import AnswerHead, Failure, UpstreamConnection
from nanogpt_proxy.limits import Ticket
from nanogpt_proxy.models import Account, Secret

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOWHERE = Match(routes.UNKNOWN, b"", b"")


class Exchange:
    """The story of one request. Implements `Handler`, `Waiter` and `AnswerSink`."""

    def __init__(self, context: Context, client: ClientConnection, request: Request) -> None:
        self._context = context
        self._client = client
        self._request = request
        self._reply = Reply(client, request, context.next_id)
        self._began = context.loop.time()
        self._first_byte: float | None = None
        self._match = _NOWHERE
        self._fields: headers.Fields = {}
        self._account: Account | None = None
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None
        self._head = b""
        self._held: HeldBody | None = None
        self._passed: PassedBody | None = None
        self._whole = b""
        self._upstream: UpstreamConnection | None = None
        self._in_queue = False
        self._went_up = False
        self._settled = False

    # Hops 2 to 5: all that is decided on the head alone, before the body is read.

    def start(self) -> None:
        self._guard(self._open)

    def _open(self) -> None:
        request, context = self._request, self._context
        if request.refusal is not None:
            raise request.refusal
        self._match = match = routes.match(request.method, request.target)
        self._fields = headers.read(request.headers)
        if match.route.kind not in (Kind.LIVE, Kind.READY):
            context.tokens.check(self._fields)
        if match.route.kind is not Kind.RELAY:
            self._await(answer_locally(context, match), self._answer)
            return
        email = who(self._fields)
        account = context.directory.find(email)
        if account is NOT_LOADED:
            self._await(context.directory.load(email), self._identified)
        else:
            self._identified(account)

    def _identified(self, account: Account | None) -> None:
        if account is not None and account.disabled:
            raise refusals.user_disabled()
        if account is None or account.key is None:
            raise refusals.key_not_enrolled()
        self._account = account
        self._ticket = self._context.limits.admit(account)
        self._accept(account.key)

    # Hop 6: what may cross the border, and the body.

    def _accept(self, key: Secret) -> None:
        request, context = self._request, self._context
        settings = context.settings
        kind = refusals.judge_body(self._match.route.body, request, self._fields, settings)
        self._head = self._upward(key)
        if not request.complete:
            if request.expects_continue and not request.received:
                self._client.write(_CONTINUE)
                request.expects_continue = False
            self._client.resume_reading()
            self._client.expect(Phase.BODY, settings.body_timeout)
        if kind is Body.UPLOAD:
            self._passed = PassedBody(request, settings.max_upload_bytes)
            self._acquire()
        else:
            self._held = HeldBody(
                self._client, request, context.budget, settings, self.body_arrived
            )
            self._collect(self._held)

    def _upward(self, key: Secret) -> bytes:
        """The head for NanoGPT, but for the line that frames the body."""
        match, origin = self._match, self._context.pool.origin
        target = origin.path + match.path + (b"?" + match.query if match.query else b"")
        line = self._request.method + b" " + target + b" HTTP/1.1\r\n"
        host = b"host: " + origin.authority + b"\r\n"
        return line + host + headers.upward(self._fields, key)

    def body_arrived(self) -> None:
        self._guard(self._body_arrived)

    def _body_arrived(self) -> None:
        if self._held is not None and not self._whole:
            self._collect(self._held)
        elif self._passed is not None and self._upstream is not None:
            self._pass_up(self._passed, self._upstream)
        else:
            self._client.pause_reading()  # until it is known what becomes of it

    def _collect(self, held: HeldBody) -> None:
        body = held.arrived()
        if body is None:
            return
        self._client.expect_nothing()
        if self._match.route.body is Body.NONE:
            self._acquire()
            return
        self._whole = body
        if len(body) <= json_body.AT_ONCE:
            json_body.check(body)
            self._acquire()
        else:
            self._await(self._context.judge.check(body), lambda _: self._acquire())

    # Hop 7: up to NanoGPT.

    def _acquire(self) -> None:
        self._client.expect(Phase.UPSTREAM, self._context.settings.first_byte_timeout)
        connection = self._context.pool.acquire(self)
        if connection is not None:
            self._send(connection)
        else:
            self._in_queue = True

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._in_queue = False
        self._guard(lambda: self._send(connection))

    def upstream_failed(self, failure: Failure) -> None:
        """No connection could be made: nothing of the request went up."""
        self._in_queue = False
        self._guard(lambda: self._refuse(refusals.unreachable(failure)))

    def _send(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        self._went_up = True
        passed, release = self._passed, self._context.pool.release
        if passed is not None:
            head = self._head + passed.framing() + b"\r\n"
            connection.begin(self, head, whole=False, release=release)
            self._client.resume_reading()
            self._pass_up(passed, connection)
            return
        if self._whole:
            head = self._head + b"content-length: %d\r\n\r\n" % len(self._whole)
            data = head + self._whole
        else:
            data = self._head + b"\r\n"
        self._whole = b""
        connection.begin(self, data, whole=True, release=release)
        if self._held is not None and not self._held.is_large:
            self._held.release()

    def _pass_up(self, passed: PassedBody, upstream: UpstreamConnection) -> None:
        """Passes on what came of a streamed body."""
        settings = self._context.settings
        data = passed.arrived()
        if self._request.complete:
            self._passed = None
            upstream.sent_whole()
        if not self._reply.begun:
            if self._request.complete:
                self._client.expect(Phase.UPSTREAM, settings.first_byte_timeout)
            else:
                self._client.expect(Phase.BODY, settings.body_timeout)
        if data:
            upstream.send(data)

    def upstream_full(self) -> None:
        if self._passed is not None:
            self._client.pause_reading()
            self._client.expect(Phase.UPSTREAM, self._context.settings.first_byte_timeout)

    def upstream_drained(self) -> None:
        if self._held is not None:
            self._held.release()
        if self._passed is not None:
            self._client.resume_reading()
            self._client.expect(Phase.BODY, self._context.settings.body_timeout)

    # The answer comes down.

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        if ended:
            self._upstream = None
        self._guard(lambda: self._pass_down(head, chunks, ended))

    def _pass_down(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        reply = self._reply
        if head is not None:
            self._first_byte = self._context.loop.time()
            if self._held is not None:
                self._held.release()
        reply.relay(head, chunks, ended, self._match.route.dialect)
        if ended:
            self._finish("complete" if reply.is_complete() else "incomplete")
        else:
            self._client.expect(Phase.UPSTREAM, self._context.settings.stream_idle_timeout)

    def client_full(self) -> None:
        if self._upstream is not None:
            self._upstream.pause()

    def client_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    # Endings that nobody wished for.

    def client_gone(self) -> None:
        """The user pressed Stop: NanoGPT must stop too, also while it still thinks."""
        self._settle("client_gone")

    def client_broke(self, refusal: Refusal) -> None:
        self._guard(lambda: self._refuse(refusal))

    def timed_out(self, phase: Phase) -> None:
        if phase is Phase.BODY:
            self._request.keep_alive = False
            waits = self._held is not None and self._held.waits_for_room
            refusal = refusals.overloaded() if waits else refusals.body_timeout()
        elif self._reply.begun:
            refusal = refusals.stream_idle()
        else:
            refusal = refusals.no_answer_in_time(sent=self._went_up)
        self._guard(lambda: self._refuse(refusal))

    def answer_failed(self, failure: Failure) -> None:
        self._upstream = None
        self._guard(lambda: self._refuse(refusals.broken(failure)))

    def shut_down(self) -> None:
        self._guard(lambda: self._refuse(refusals.shutting_down()))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers in place of NanoGPT, or breaks its answer off if that has begun."""
        if not self._reply.begun:
            pairs = [(name.encode(), value.encode()) for name, value in refusal.headers]
            body = answers.envelope(refusal, self._match.route.dialect)
            self._answer((refusal.status, pairs, body), refusal.code)
            return
        outcome = refusal.code if not self._reply.is_complete() else "complete"
        if self._reply.break_off(refusal):
            self._finish(outcome)
        else:
            self._settle(refusal.code)

    def _answer(self, answer: Answer, outcome: str = "local") -> None:
        self._first_byte = self._context.loop.time()
        self._reply.whole(*answer)
        self._finish(outcome)

    # Hop 8: settle, exactly once.

    def _finish(self, outcome: str) -> None:
        """The answer is written to its end."""
        self._settle(outcome)
        self._client.expect_nothing()
        self._client.finished(self._reply.keep)

    def _settle(self, outcome: str) -> None:
        if self._settled:
            return
        self._settled = True
        if self._task is not None:
            self._task.cancel()
        if self._in_queue:
            self._context.pool.forget(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.drop()
        held, self._held, self._passed = self._held, None, None
        if held is not None:  # it knows us: without the cycle no collector is needed
            held.release()
        if self._ticket is not None:
            self._ticket.release()
        if self._account is not None and self._went_up:
            self._context.directory.used(self._account.id)
        self._report(outcome)

    def _report(self, outcome: str) -> None:
        context, route, reply = self._context, self._match.route, self._reply
        context.counters.count(route.name, reply.status, outcome)
        if context.access_log is None or route.kind in (Kind.LIVE, Kind.READY):
            return
        first = self._first_byte
        context.access_log.write(
            request_id=reply.request_id,
            account=self._account.id if self._account else None,
            method=self._request.method.decode("latin-1"),
            route=route.name,
            status=reply.status,
            outcome=outcome,
            ms=(context.loop.time() - self._began) * 1000,
            first_byte_ms=None if first is None else (first - self._began) * 1000,
            sent=reply.sent,
            received=self._request.received,
        )

    # How the steps above are run.

    def _guard(self, step: Callable[[], None]) -> None:
        """Runs a step; a refusal becomes an answer, and so does a fault of ours."""
        if self._settled:
            return
        try:
            step()
        except Refusal as refusal:
            self._refuse(refusal)
        except Exception:
            self._refuse(self._fault())

    def _fault(self) -> Refusal:
        fields = {"request_id": self._reply.request_id}
        _logger.exception("an exchange failed", extra={"fields": fields})
        return refusals.internal_error(sent=self._went_up)

    def _await(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        """Runs what must wait; `then` takes its result unless the exchange has ended."""
        self._task = self._context.loop.create_task(self._wait(work, then))

    async def _wait(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        refusal = None
        try:
            result = await work
        except Refusal as error:
            refusal = error
        except StoreError:
            refusal = refusals.store_unavailable()
        except VaultError as error:
            _logger.error("a stored key cannot be opened", extra={"fields": {"why": error.message}})
            refusal = refusals.key_unreadable()
        except Exception:
            refusal = self._fault()
        self._task = None
        if refusal is not None:
            told = refusal
            self._guard(lambda: self._refuse(told))
        else:
            self._guard(lambda: then(result))
