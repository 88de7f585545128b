"""NanoGPT's refusals, in the envelope of each protocol."""

from __future__ import annotations

from collections.abc import Sequence

from standin.answers import Answer, json_answer
from standin.recorder import Json

KINDS = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "permission_denied_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable",
}
_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Problem(Exception):
    """NanoGPT would refuse this request. `extra` joins the error object."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        extra: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.kind = kind or KINDS.get(status, "server_error")
        self.headers = tuple(headers)
        self.extra = extra or {}


def problem_answer(problem: Problem, *, anthropic: bool) -> Answer:
    """The refusal as an answer, in Anthropic's envelope or in OpenAI's."""
    error: Json
    if anthropic:
        kind = _ANTHROPIC_KINDS.get(problem.status, "api_error")
        body: Json = {"type": "error", "error": {"type": kind, "message": problem.message}}
    else:
        error = {"message": problem.message, "type": problem.kind, "code": problem.code}
        body = {"error": {**error, **problem.extra}}
    return json_answer(body, status=problem.status, headers=problem.headers)
