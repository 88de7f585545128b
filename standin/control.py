"""`/__standin/…`: what tests and people ask the stand-in itself."""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web

from standin.access import Guard
from standin.recorder import Json, Record, Recorder

PREFIX = "/__standin/"
_MOMENTS = ("received", "body", "head", "answered", "closed", "stray")
_LIMITS = ("in_flight", "in_flight_min", "count", "connections")


class Control:
    """Reads the recorder, waits on it, and sets scenarios for paths.

    A scenario set here wins over model and query; it is what model lists need, as the proxy asks
    for them by itself. The path is that below `/api/v1`; `*` means every path.
    """

    def __init__(self, recorder: Recorder, guard: Guard) -> None:
        self._recorder = recorder
        self._guard = guard
        self.scenarios: dict[str, str] = {}

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one control request; wrong use is a 400 with a sentence."""
        doors = {
            ("GET", "requests"): self._requests,
            ("DELETE", "requests"): self._clear,
            ("GET", "requests/wait"): self._wait,
            ("GET", "state"): self._state,
            ("GET", "scenarios"): self._scenarios,
            ("PUT", "scenarios"): self._set_scenarios,
            ("DELETE", "scenarios"): self._set_scenarios,
        }
        door = doors.get((request.method, request.path.removeprefix(PREFIX)))
        if door is None:
            return web.json_response({"error": "no such control"}, status=404)
        try:
            return await door(request)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    async def _requests(self, request: web.BaseRequest) -> web.Response:
        since = int(request.query.get("since", "0"))
        found = [record.as_json() for record in self._recorder.since(since)]
        return web.json_response({"last": self._recorder.last, "requests": found})

    async def _clear(self, _: web.BaseRequest) -> web.Response:
        self._recorder.clear()
        self._guard.forget()
        return web.json_response({"last": self._recorder.last})

    def _picture(self) -> Json:
        recorder = self._recorder
        return {
            "last": recorder.last,
            "in_flight": recorder.in_flight,
            "peak": recorder.peak,
            "connections": recorder.connections,
        }

    async def _state(self, _: web.BaseRequest) -> web.Response:
        return web.json_response(self._picture())

    async def _wait(self, request: web.BaseRequest) -> web.Response:
        """Until a moment of request `n` (or of the first after `since`), or a count is reached."""
        seconds = float(request.query.get("timeout", "10"))
        if "n" in request.query or "since" in request.query:
            return await self._wait_moment(request, seconds)
        happened = await self._recorder.wait(self._limit(request), seconds)
        return web.json_response({**self._picture(), "happened": happened}, status=_code(happened))

    async def _wait_moment(self, request: web.BaseRequest, seconds: float) -> web.Response:
        moment = request.query.get("event", "closed")
        if moment not in _MOMENTS:
            raise ValueError(f"event is one of {', '.join(_MOMENTS)}")
        find = self._finder(request)

        def come() -> bool:
            record = find()
            return record is not None and moment in record.moments

        happened = await self._recorder.wait(come, seconds)
        record = find()
        found: Json = {"happened": happened, "event": moment}
        if record is not None:
            found |= {"at": record.moments.get(moment), "request": record.as_json()}
        return web.json_response(found, status=_code(happened))

    def _finder(self, request: web.BaseRequest) -> Callable[[], Record | None]:
        recorder = self._recorder
        if "n" in request.query:
            number = int(request.query["n"])
            return lambda: recorder.get(number)
        since, path = int(request.query["since"]), request.query.get("path")
        return lambda: next(
            (r for r in recorder.since(since) if path is None or r.path.endswith(path)), None
        )

    def _limit(self, request: web.BaseRequest) -> Callable[[], bool]:
        wanted = {name: int(request.query[name]) for name in _LIMITS if name in request.query}
        if not wanted:
            raise ValueError(f"wait for n=, since= or one of {', '.join(_LIMITS)}")
        recorder = self._recorder
        return lambda: (
            wanted.get("in_flight", recorder.in_flight) == recorder.in_flight
            and recorder.in_flight >= wanted.get("in_flight_min", 0)
            and recorder.last >= wanted.get("count", 0)
            and wanted.get("connections", recorder.connections) == recorder.connections
        )

    async def _scenarios(self, _: web.BaseRequest) -> web.Response:
        return web.json_response(self.scenarios)

    async def _set_scenarios(self, request: web.BaseRequest) -> web.Response:
        given = json.loads(await request.read()) if request.method == "PUT" else {}
        if not isinstance(given, dict):
            raise ValueError('the body is an object such as {"/models": "503"}')
        self.scenarios = {str(path): str(order) for path, order in given.items()}
        return await self._scenarios(request)


def _code(happened: bool) -> int:
    return 200 if happened else 408
