"""Connections and requests: record, read, judge, answer, and note how it ended."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from typing import Any

from aiohttp import web

from standin.access import X402, Guard
from standin.answers import Answer, json_answer
from standin.bodies import Intake, read_json, read_parts
from standin.call import PLAIN, Call, Line, Order
from standin.control import PREFIX, Control
from standin.delivery import Sent, deliver
from standin.errors import Problem, problem_answer
from standin.recorder import Record, Recorder
from standin.routes import ROOT, Route, make_routes
from standin.scenarios import EARLY, SCENARIOS
from standin.scenarios.refusals import unknown_model

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_EARLY_IN_BODY = re.compile(rb"standin/((?:early-answer|never-reads)[a-z0-9:-]*)")
_REMEMBERED = 64
logger = logging.getLogger("standin")


class _Connection(Line):
    """A connection with the last records on it, which its end concerns."""

    __slots__ = ("control", "recent")

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.control = False
        self.recent: deque[Record] = deque(maxlen=_REMEMBERED)


class Server(web.Server):
    """aiohttp's server, which also notes when each connection comes and goes."""

    def __init__(self, *, pace: float = 0.0, bad_keys: int = 10) -> None:
        self.recorder = Recorder()
        self._guard = Guard(failures=bad_keys)
        self._control = Control(self.recorder, self._guard)
        self._routes = make_routes()
        self._pace = pace
        self._lines: dict[Any, _Connection] = {}
        self._count = 0
        super().__init__(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=600.0,
            max_line_size=65536,
            max_field_size=65536,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._count += 1
        self._lines[handler] = _Connection(self._count)
        self.recorder.connections += 1
        self.recorder.wake()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        line = self._lines.pop(handler, None)
        if line is None:
            return
        if not line.control:
            self.recorder.connections -= 1
        for record in line.recent:
            self.recorder.mark(record, "closed")
        self.recorder.wake()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        line = self._lines[request.protocol]
        if request.path.startswith(PREFIX):
            if not line.control:
                line.control = True
                self.recorder.connections -= 1
            return await self._control.handle(request)
        record = self._record(request, line)
        line.busy += 1
        try:
            response = await self._answer(request, record, line)
            await response.prepare(request)
            await response.write_eof()
            self._settle(record, "answered")
            if record.outcome == "answered":
                self.recorder.mark(record, "answered")
            return response
        except (asyncio.CancelledError, ConnectionError):
            self._settle(record, "client_gone")
            raise
        except Exception:
            logger.exception("request %d failed", record.number)
            self._settle(record, "failed")
            raise
        finally:
            line.busy -= 1
            self.recorder.finish(record)

    @staticmethod
    def _settle(record: Record, outcome: str) -> None:
        if record.outcome == "open":
            record.outcome = outcome

    def _record(self, request: web.BaseRequest, line: _Connection) -> Record:
        number = self.recorder.next_number()
        line.turns += 1
        path, _, query = request.raw_path.partition("?")
        given = request.headers.get("X-Request-ID", "")
        record = Record(
            number=number,
            connection=line.number,
            turn=line.turns,
            method=request.method,
            path=path,
            query=query,
            version=f"{request.version.major}.{request.version.minor}",
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.raw_headers],
            request_id=given if _REQUEST_ID.fullmatch(given) else f"req_standin_{number}",
        )
        line.recent.append(record)
        self.recorder.add(record)
        return record

    def _find(self, record: Record) -> Route | None:
        same = (route for route in self._routes if route.path.fullmatch(record.path))
        return next((route for route in same if route.method == record.method), None)

    async def _answer(
        self, request: web.BaseRequest, record: Record, line: _Connection
    ) -> web.StreamResponse:
        route = self._find(record)
        intake = Intake(request.content, record.body)
        protocol = route.protocol if route else "openai"
        call = Call(request, record, self.recorder, intake, line, protocol, pace=self._pace)
        try:
            return await self._serve(call, route)
        except Problem as problem:
            answer = _refusal(problem, anthropic=protocol == "anthropic")
        record.status = answer.status
        return await deliver(call, answer.with_headers(("X-Request-ID", record.request_id)))

    async def _serve(self, call: Call, route: Route | None) -> web.StreamResponse:
        refused = self._judge(call, route)
        play = None if refused else await self._early(call)
        if play is not None:
            return play
        if call.request.headers.get("Expect", "").lower() == "100-continue":
            call.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if refused is not None or route is None:
            await call.intake.drain()
        else:
            await self._read(call, route)
        call.record.body.complete = True
        self.recorder.mark(call.record, "body")
        if refused is not None or route is None:
            raise refused or Problem(404, "not_found", f"Unknown path {call.record.path}.")
        call.order = self._order(call) or call.order
        call.record.scenario = call.order.name
        if call.order.name not in SCENARIOS:
            raise unknown_model(call)
        answer = route.answer(call).with_headers(("X-Request-ID", call.record.request_id))
        call.record.status = answer.status
        response = await SCENARIOS[call.order.name](call, answer)
        if not isinstance(response, Sent):
            call.record.status = response.status
        return response

    def _judge(self, call: Call, route: Route | None) -> Problem | None:
        """Why the caller is refused; notes the key in any case."""
        try:
            if route is not None and route.keyed:
                call.record.key = self._guard.admit(call.request)
        except Problem as problem:
            return problem
        return None

    def _order(self, call: Call) -> Order | None:
        """What was ordered by control, query or model, in this order; `None` if nothing was."""
        path = call.record.path.removeprefix(ROOT)
        ordered = self._control.scenarios.get(path, self._control.scenarios.get("*"))
        text = ordered or call.query.get("scenario", [None])[-1]
        if text is None and call.model.startswith("standin/"):
            text = call.model
        return None if text is None else Order.parse(text)

    async def _early(self, call: Call) -> web.StreamResponse | None:
        """Play a scenario that must not wait for the body, if one was ordered."""
        order = self._order(call)
        if order is None or order == PLAIN:
            found = _EARLY_IN_BODY.search(await call.intake.peek()) if _awaited(call) else None
            order = Order.parse(found[1].decode()) if found else PLAIN
        if order.name not in EARLY:
            return None
        call.order = order
        call.record.scenario = order.name
        return await EARLY[order.name](call, json_answer({}))

    async def _read(self, call: Call, route: Route) -> None:
        kind = call.request.content_type
        if route.takes == "none":
            await call.intake.drain()
        elif kind == "application/json":
            call.json = await read_json(call.request, call.intake)
            model = call.json.get("model")
            call.record.model = model if isinstance(model, str) else None
        elif kind == "multipart/form-data" and route.takes == "any":
            call.record.parts = await read_parts(call.request, call.intake)
            call.record.model = call.asked("model") or None
        else:
            await call.intake.drain()
            raise Problem(415, "unsupported_media_type", f"Unsupported media type: {kind}")


def _awaited(call: Call) -> bool:
    """Whether a body may be peeked at: one that comes only after `100 Continue` may not."""
    return call.request.body_exists and "Expect" not in call.request.headers


def _refusal(problem: Problem, *, anthropic: bool) -> Answer:
    if isinstance(problem, X402):
        return json_answer({"error": problem.message, "payment": problem.payment}, status=402)
    return problem_answer(problem, anthropic=anthropic)
