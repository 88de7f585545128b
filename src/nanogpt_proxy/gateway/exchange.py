"""One request and its answer, from the head to the settlement. Read it from top to bottom.

Nothing here waits: the client's connection, the upstream connection and the directory call in
when something has happened. Whatever happens, `_settle` runs exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import answers, refusals, routes
from nanogpt_proxy.gateway.bodies import HeldBody, PassedBody
from nanogpt_proxy.gateway.border import cross
from nanogpt_proxy.gateway.context import Context
from nanogpt_proxy.gateway.local import Answer, answer_locally
from nanogpt_proxy.gateway.rejection import Doubt
from nanogpt_proxy.gateway.reply import Reply
from nanogpt_proxy.gateway.report import Report
from nanogpt_proxy.gateway.routes import Body, Kind, Match
from nanogpt_proxy.gateway.sending import Sending
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request
from nanogpt_proxy.gateway.upstream import AnswerHead, Failure
from nanogpt_proxy.limits import Ticket
from nanogpt_proxy.models import Account

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A body that came whole with its head, and is no larger than this, is passed on uncounted: a
# connection may hold more than that before it is read at all.
_UNCOUNTED = 16 * 1024
_NOWHERE = Match(routes.UNKNOWN, b"", b"")


class Exchange:
    """The story of one request. Implements `Handler` and `Owner`."""

    def __init__(self, context: Context, client: ClientConnection, request: Request) -> None:
        self._context = context
        self._client = client
        self._request = request
        self._reply = Reply(client, request, context.next_id)
        self._report = Report(context)
        self._match = _NOWHERE
        self._account: Account | None = None
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None
        self._kind = Body.NONE
        self._held: HeldBody | None = None
        self._sending = Sending(context, client, request, self)
        self._doubt: Doubt | None = None
        self._settled = False

    # Hops 2 to 5: all that is decided on the head alone, before the body is read.

    def start(self) -> None:
        self.guard(self._open)

    def _open(self) -> None:
        request, context = self._request, self._context
        if request.refusal is not None:
            raise request.refusal
        self._match = match = routes.match(request.method, request.target)
        if request.objection is not None:
            raise request.objection
        kind = match.route.kind
        if kind is not Kind.LIVE and kind is not Kind.READY:
            context.tokens.check(request.fields)
        if kind is not Kind.RELAY:
            self._await(lambda: answer_locally(context, match), self._answer)
            return
        account = context.admission.admit(request.fields, match.route)
        if isinstance(account, Account):
            self._admitted(account)
        else:
            self._await(account, self._admitted)

    def _admitted(self, account: Account) -> None:
        self._account = account
        self._ticket = self._context.limits.admit(account)
        self._accept(account)

    # Hop 6: what may cross the border, and the body.

    def _accept(self, account: Account) -> None:
        request, settings = self._request, self._context.settings
        self._kind = kind = refusals.judge_body(self._match.route.body, request, settings)
        self._sending.address(self._match, account.open_key)
        if kind is Body.NONE:  # a body where none belongs is not wanted
            request.dropped = True
            self._send(b"")
            return
        if not request.complete:
            if request.expects_continue and not request.received:
                self._client.write(_CONTINUE)
                request.expects_continue = False
            self._client.resume_reading()
            self._client.expect(Phase.BODY, settings.body_timeout)
        if request.complete and request.received <= _UNCOUNTED:
            self._judge(b"".join(request.take()))
        elif kind is Body.UPLOAD:
            body = PassedBody(request, settings.max_upload_bytes)
            self._sending.passing(body)
        else:
            self._held = HeldBody(
                self._client, request, self._context.budget, settings, self.body_arrived
            )
            self._collect(self._held)

    def body_arrived(self) -> None:
        self.guard(self._body_arrived)

    def _body_arrived(self) -> None:
        if self._held is not None:
            self._collect(self._held)
        elif not self._request.dropped and not self._sending.body_arrived():
            self._client.pause_reading()  # until it is known what becomes of it

    def _collect(self, held: HeldBody) -> None:
        body = held.arrived()
        if body is None:
            return
        self._client.expect_nothing()
        self._judge(body)

    def _judge(self, body: bytes) -> None:
        clean = cross(body, self._kind, self._context, self._match, self._account, self._request)
        if isinstance(clean, bytes):
            self._send(clean)
        else:
            self._await(clean, self._send)

    def _send(self, body: bytes) -> None:
        self._sending.whole(body)
        if self._held is not None and not self._held.is_large:
            self._release()  # the kernel takes that much at once

    def _release(self) -> None:
        """The body is held no more."""
        held, self._held = self._held, None
        if held is not None:
            held.release()

    # Hop 7: up to NanoGPT, and what comes down from it.

    def upstream_full(self) -> None:
        self._sending.full()

    def upstream_drained(self) -> None:
        self._release()
        self._sending.drained()

    def answer(self, head: AnswerHead | None, chunks: list[bytes], ended: bool) -> None:
        if ended:
            self._sending.ended()
        if self._settled:
            return
        if head is not None:
            self._report.first_byte()
            self._release()
            self._doubt = self._context.rejections.doubt(self._account, head)
        if self._doubt is not None:
            held = self._doubt.hold(chunks, ended)
            if isinstance(held, Refusal):
                return self._refuse(held)
            head, chunks = held
        self._reply.relay(head, chunks, ended, self._match.route.dialect)
        if ended:
            self._finish("complete" if self._reply.is_complete() else "incomplete")
        else:
            self._client.expect(Phase.UPSTREAM, self._context.settings.stream_idle_timeout)

    def client_full(self) -> None:
        self._sending.pause_answer()

    def client_drained(self) -> None:
        self._sending.resume_answer()

    # Endings that nobody wished for.

    def client_gone(self) -> None:
        """The user pressed Stop: NanoGPT must stop too, also while it still thinks."""
        self._settle("client_gone")

    def client_broke(self, refusal: Refusal) -> None:
        self.guard(lambda: self._refuse(refusal))

    def timed_out(self, phase: Phase) -> None:
        if phase is Phase.BODY:
            self._request.keep_alive = False
            waits = self._held is not None and self._held.waits_for_room
            refusal = refusals.overloaded() if waits else refusals.body_timeout()
        elif self._sending.answer_paused:
            return self._client.abort()  # it does not read, and would not read this either
        elif self._reply.begun:
            refusal = refusals.stream_idle()
        else:
            refusal = refusals.no_answer_in_time(sent=self._sending.went_up)
        self.guard(lambda: self._refuse(refusal))

    def answer_failed(self, failure: Failure) -> None:
        self._sending.ended()
        self.guard(lambda: self._refuse(refusals.broken(failure)))

    def not_sent(self) -> None:
        self._sending.again()

    def shut_down(self) -> None:
        self.guard(lambda: self._refuse(refusals.shutting_down()))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers in place of NanoGPT, or breaks its answer off if that has begun."""
        if not self._reply.begun:
            pairs = [(name.encode(), value.encode()) for name, value in refusal.headers]
            known = self._match.route is not routes.UNKNOWN
            dialect = self._match.route.dialect if known else routes.dialect(self._request.target)
            body = answers.envelope(refusal, dialect)
            self._answer((refusal.status, pairs, body), refusal.code)
            return
        outcome = refusal.code if not self._reply.is_complete() else "complete"
        if self._reply.break_off(refusal):
            self._finish(outcome)
        else:
            self._settle(refusal.code)

    def _answer(self, answer: Answer, outcome: str = "local") -> None:
        self._report.first_byte()
        self._reply.whole(*answer)
        self._finish(outcome)

    # Hop 8: settle, exactly once.

    def _finish(self, outcome: str) -> None:
        """The answer is written to its end."""
        self._settle(outcome)
        self._client.finished(self._reply.keep)

    def _settle(self, outcome: str) -> None:
        if self._settled:
            return
        self._settled = True
        if self._task is not None:
            self._task.cancel()
        self._sending.drop()
        self._release()
        if self._ticket is not None:
            self._ticket.release()
        if self._account is not None and self._sending.went_up:
            self._context.directory.used(self._account.id)
        self._report.settled(
            outcome,
            route=self._match.route,
            account=self._account,
            request=self._request,
            reply=self._reply,
        )

    # How the steps above are run.

    def guard(self, step: Callable[[], None]) -> None:
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
        return refusals.internal_error(sent=self._sending.went_up)

    def _await(self, work: Callable[[], Awaitable[_T]], then: Callable[[_T], None]) -> None:
        """Runs what must wait; `then` takes its result unless the exchange has ended."""
        self._task = self._context.loop.create_task(self._wait(work, then))

    async def _wait(self, work: Callable[[], Awaitable[_T]], then: Callable[[_T], None]) -> None:
        try:
            result = await refusals.translated(work())
        except Refusal as error:
            refusal = error
        except Exception:
            refusal = self._fault()
        else:
            self._task = None
            self.guard(lambda: then(result))
            return
        self._task = None
        self.guard(lambda: self._refuse(refusal))
