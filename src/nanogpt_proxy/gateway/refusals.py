"""The answers that the gateway gives in NanoGPT's place, each with one sentence that helps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from functools import lru_cache
from typing import TypeVar

from nanogpt_proxy.errors import Refusal, StoreError, VaultError
from nanogpt_proxy.gateway.routes import Body
from nanogpt_proxy.gateway.server import Request
from nanogpt_proxy.gateway.upstream import Failure
from nanogpt_proxy.settings import Settings

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

# SDKs repeat a failed call by themselves; this header stops them from paying twice.
_NO_RETRY = (("x-should-retry", "false"),)


def judge_body(allowed: Body, request: Request, settings: Settings) -> Body:
    """How the body of this request is to be treated; raises `Refusal` with 413 or 415."""
    if allowed is Body.NONE:
        return Body.NONE
    fields = request.fields
    kind = _kind(allowed, fields.get(b"content-type", b""))
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(
            415,
            "unsupported_content_encoding",
            "Compressed request bodies are not accepted; send the body without Content-Encoding.",
        )
    limit = settings.max_upload_bytes if kind is Body.UPLOAD else settings.max_json_bytes
    if max(request.content_length or 0, request.received) > limit:
        raise too_large(limit)
    return kind


@lru_cache(maxsize=256)
def _kind(allowed: Body, content_type: bytes) -> Body:
    media_type, _, parameters = content_type.lower().partition(b";")
    if media_type.strip() == b"application/json" and _is_utf8(parameters):
        return Body.JSON
    if allowed is Body.UPLOAD and media_type.strip() == b"multipart/form-data":
        if b"boundary=" in parameters:
            return Body.UPLOAD
        raise Refusal(
            415, "unsupported_media_type", "The multipart Content-Type does not name its boundary."
        )
    also = "multipart/form-data or " if allowed is Body.UPLOAD else ""
    raise Refusal(
        415,
        "unsupported_media_type",
        f"This endpoint takes {also}application/json in UTF-8; set the Content-Type accordingly.",
    )


def _is_utf8(parameters: bytes) -> bool:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset":
            return value.strip().strip(b'"') in (b"utf-8", b"utf8")
    return True


def too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        "request_too_large",
        f"The request body is larger than the {limit} bytes that the operator allows.",
    )


def key_not_enrolled() -> Refusal:
    return Refusal(
        401,
        "key_not_enrolled",
        "There is no NanoGPT API key for your account here yet; ask the operator of this Open "
        "WebUI to add yours with `nanogpt-proxy add-user`.",
        kind="authentication_error",
    )


def user_disabled() -> Refusal:
    return Refusal(
        403,
        "user_disabled",
        "Your account is switched off here; ask the operator of this Open WebUI.",
        kind="permission_error",
    )


def identity_changed() -> Refusal:
    return Refusal(
        403,
        "identity_changed",
        "Your user in Open WebUI is not the one that this account was used by before; if that is "
        "in order, its operator runs `nanogpt-proxy unbind EMAIL`, or `unbind --all` after Open "
        "WebUI got a new database.",
        kind="permission_error",
    )


def key_rejected() -> Refusal:
    return Refusal(
        401,
        "key_rejected",
        "NanoGPT does not accept the API key that pays for this call; make a new one at "
        "https://nano-gpt.com/api and ask the operator of this Open WebUI to store it with "
        "`nanogpt-proxy set-key`.",
        kind="authentication_error",
        headers=_NO_RETRY,
    )


def body_timeout() -> Refusal:
    return Refusal(408, "request_timeout", "The request's body came too slowly; send it again.")


def overloaded() -> Refusal:
    return Refusal(
        503,
        "overloaded",
        "The proxy holds as many request bodies as it may; try again in a few seconds.",
        kind="service_unavailable",
        headers=(("retry-after", "5"),),
    )


async def translated(work: Awaitable[_T]) -> _T:
    """The result of what must wait; raises `Refusal` when the store or a key fails."""
    try:
        return await work
    except StoreError:
        raise store_unavailable() from None
    except VaultError as error:
        _logger.error("a stored key cannot be opened", extra={"fields": {"why": error.message}})
        raise key_unreadable() from None


def store_unavailable() -> Refusal:
    return Refusal(
        503,
        "store_unavailable",
        "The proxy cannot read its accounts at the moment; try again in a few seconds.",
        kind="service_unavailable",
        headers=(("retry-after", "5"),),
    )


def key_unreadable() -> Refusal:
    return Refusal(
        500,
        "key_unreadable",
        "Your stored NanoGPT API key cannot be opened; ask the operator to store it again with "
        "`nanogpt-proxy set-key`.",
        kind="api_error",
    )


def internal_error(*, sent: bool) -> Refusal:
    return Refusal(
        500,
        "internal_error",
        "The proxy failed on this request; its operator finds the reason in the log.",
        kind="api_error",
        headers=_NO_RETRY if sent else (),
    )


def unreachable(failure: Failure) -> Refusal:
    """No connection: nothing of the request went up, so it may be tried again."""
    return Refusal(
        502,
        "upstream_unreachable",
        f"{failure.value}; try again shortly, and ask the operator to check UPSTREAM_URL "
        "and the network if it stays so.",
        kind="api_error",
    )


def broken(failure: Failure) -> Refusal:
    return Refusal(
        502,
        "upstream_disconnected" if failure is Failure.CLOSED else "upstream_invalid",
        f"{failure.value} before the answer was complete; it may have been charged, "
        "so look before you send it again.",
        kind="api_error",
        headers=_NO_RETRY,
    )


def no_answer_in_time(*, sent: bool) -> Refusal:
    return Refusal(
        504,
        "upstream_timeout",
        "NanoGPT did not answer in time"
        + ("; it may have been charged, so look before you send it again." if sent else "."),
        kind="api_error",
        headers=_NO_RETRY if sent else (),
    )


def stream_idle() -> Refusal:
    return Refusal(
        504,
        "upstream_timeout",
        "NanoGPT sent nothing more for a long time; the answer is not complete.",
        kind="api_error",
        headers=_NO_RETRY,
    )


def shutting_down() -> Refusal:
    return Refusal(
        503,
        "shutting_down",
        "The proxy is being restarted; send the request again in a moment.",
        kind="service_unavailable",
        headers=(("retry-after", "2"), *_NO_RETRY),
    )
