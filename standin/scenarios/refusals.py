"""NanoGPT says no, in every form that was seen of it."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

from aiohttp import web

from standin.answers import Answer, json_answer
from standin.call import Call
from standin.delivery import deliver
from standin.errors import Problem, problem_answer
from standin.recorder import Json

Pairs = list[tuple[str, str]]


async def _refuse(call: Call, problem: Problem) -> web.StreamResponse:
    answer = problem_answer(problem, anthropic=call.protocol == "anthropic")
    return await _send(call, answer)


async def _send(call: Call, answer: Answer) -> web.StreamResponse:
    return await deliver(call, answer.with_headers(("X-Request-ID", call.record.request_id)))


async def _body(call: Call, status: int, body: Json, headers: Pairs) -> web.StreamResponse:
    return await _send(call, json_answer(body, status=status, headers=headers))


async def no_balance(call: Call, _: Answer) -> web.StreamResponse:
    """402: the documented string form, or `object` for the one with a numeric code."""
    body: Json = {"error": "Insufficient balance", "requiredBalance": 0.0035, "status": 402}
    if call.order.word(0, "string") == "object":
        error = {"message": "Insufficient balance", "type": "insufficient_balance", "code": 402}
        body = {"error": error}
    return await _body(call, 402, body, [])


async def forbidden(call: Call, _: Answer) -> web.StreamResponse:
    """403: the plan does not include the model, or `origin`."""
    if call.order.word(0, "plan") == "origin":
        code, message = "api_key_origin_not_allowed", "This origin may not use the API key."
    else:
        code, message = "model_not_included", "Your plan does not include this model."
    return await _refuse(call, Problem(403, code, message))


async def too_many(call: Call, _: Answer) -> web.StreamResponse:
    """429 with `Retry-After`: daily limit, or `usd`, `flat`, `string`, `date` (an HTTP date)."""
    form = call.order.word(0, "daily")
    headers = [("Retry-After", formatdate(usegmt=True) if form == "date" else "7")]
    if form == "flat":
        flat = {"code": "rate_limited", "message": "Rate limit exceeded"}
        return await _body(call, 429, flat, headers)
    if form == "string":
        text = "Rate limit exceeded. Please wait before sending another request."
        return await _body(call, 429, {"error": text}, headers)
    code = "daily_usd_limit_exceeded" if form == "usd" else "daily_rpd_limit_exceeded"
    message = "Daily request limit exceeded (1000/1000). Resets at midnight UTC."
    return await _refuse(call, Problem(429, code, message, headers=headers))


async def too_large(call: Call, _: Answer) -> web.StreamResponse:
    return await _refuse(call, Problem(413, "request_too_large", "Request body is too large."))


async def server_error(call: Call, _: Answer) -> web.StreamResponse:
    return await _refuse(call, Problem(500, "internal_error", "Internal server error"))


async def unavailable(call: Call, _: Answer) -> web.StreamResponse:
    message = "Service temporarily unavailable. Please try again later."
    headers = [("Retry-After", "3")]
    return await _refuse(call, Problem(503, "service_unavailable", message, headers=headers))


async def string_error(call: Call, _: Answer) -> web.StreamResponse:
    """`error` is a string, as on NanoGPT's older endpoints."""
    return await _body(call, 400, {"error": "Something is wrong", "status": 400}, [])


async def html_error(call: Call, _: Answer) -> web.StreamResponse:
    """502 as a page, from whatever stands before NanoGPT."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body>cloud</body></html>"
    headers = (("Content-Type", "text/html; charset=UTF-8"), ("CF-RAY", "8a1b2c3d4e5f-CDG"))
    return await _send(call, Answer(502, headers, (page,)))


async def not_supported(call: Call, _: Answer) -> web.StreamResponse:
    """400: this model does not exist here."""
    return await _refuse(call, unknown_model(call))


def unknown_model(call: Call) -> Problem:
    path = call.record.path.removeprefix("/api")
    return Problem(
        400,
        "model_not_supported",
        f"Model {call.model} is not supported on {path}.",
        extra={"param": "model", "details": {"endpoint": path, "requestedModel": call.model}},
    )


async def status(call: Call, answer: Answer) -> web.StreamResponse:
    """The usual answer under another status."""
    return await deliver(call, replace(answer, status=int(call.order.number(0, 418))))


async def redirect(call: Call, _: Answer) -> web.StreamResponse:
    """A redirect (307, or the status given) to another path of this server."""
    number = int(call.order.number(0, 307))
    place = ("Location", f"http://{call.request.host}/api/v1/models?redirected=1")
    return await _body(call, number, {"moved": True}, [place])


async def empty(call: Call, _: Answer) -> web.StreamResponse:
    return await _send(call, Answer(204, (), ()))


async def not_modified(call: Call, _: Answer) -> web.StreamResponse:
    return await _send(call, Answer(304, (("ETag", '"standin"'),), ()))
