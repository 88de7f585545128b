"""Keys that NanoGPT rejects: told by its answer, marked, and not sent again and again.

NanoGPT counts failed authentications, perhaps by address: one dead key could then stop everybody.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from nanogpt_proxy.directory import Directory
from nanogpt_proxy.errors import ProxyError, Refusal
from nanogpt_proxy.gateway import refusals
from nanogpt_proxy.gateway.upstream import AnswerHead
from nanogpt_proxy.models import Account, Secret

_logger = logging.getLogger(__name__)

FIRST, LONGEST = 30.0, 3600.0
"""Seconds until a rejected key is tried once more: this many at first, then twice as many."""
_MOST = 64 * 1024  # bytes of an answer that may be about the key; it has some hundred
_CODES = frozenset(
    {"invalid_api_key", "missing_api_key", "authentication_required", "authentication_error"}
)


@dataclass(slots=True)
class _Rejected:
    key: Secret
    until: float
    wait: float
    trying: bool
    """One call is on its way to see whether the key is good again."""
    marked: bool
    """The mark was seen in the store. Where it is gone, somebody has stored the key again."""


class Rejections:
    """What is known of rejected keys. All calls are of one event loop."""

    def __init__(self, directory: Directory, loop: asyncio.AbstractEventLoop) -> None:
        self._directory = directory
        self._loop = loop
        self._rejected: dict[str, _Rejected] = {}
        self._marking: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits until the marks are written."""
        await asyncio.gather(*self._marking)

    def check(self, account: Account) -> None:
        """Raises `Refusal` (401) while the key of this account need not be tried."""
        known = self._rejected.get(account.id)
        if known is None and not account.key_rejected:
            return
        if known is not None and self._is_past(known, account):
            del self._rejected[account.id]
            return
        now = self._loop.time()
        if known is None:  # marked by another process, or before this one started
            known = _Rejected(account.open_key, now, FIRST, trying=False, marked=True)
            self._rejected[account.id] = known
        known.marked |= account.key_rejected
        if now < known.until:
            raise refusals.key_rejected()
        known.trying = True
        known.until = now + known.wait

    def doubt(self, account: Account | None, head: AnswerHead) -> Doubt | None:
        """The answer, if it may mean that the key is rejected; it is then to be held."""
        if account is None:
            return None
        if head.status == 401:
            return Doubt(self, account, head)
        if (head.status < 400 or head.status == 402) and (
            account.key_rejected or account.id in self._rejected
        ):
            self._works(account)
        return None

    def reject(self, account: Account) -> Refusal:
        """NanoGPT has rejected the key: what to answer."""
        now, known = self._loop.time(), self._rejected.get(account.id)
        if known is None or known.key != account.open_key:
            known = _Rejected(account.open_key, now + FIRST, FIRST, trying=False, marked=False)
            self._rejected[account.id] = known
            self._mark(account, rejected=True)
        elif known.trying:
            known.wait = min(known.wait * 2, LONGEST)
            known.until = now + known.wait
            known.trying = False
            self._mark(account, rejected=True)  # the first time may have failed
        return refusals.key_rejected()

    @staticmethod
    def _is_past(known: _Rejected, account: Account) -> bool:
        return known.key != account.open_key or (known.marked and not account.key_rejected)

    def _works(self, account: Account) -> None:
        known = self._rejected.get(account.id)
        if known is not None and known.key == account.open_key:
            del self._rejected[account.id]
        self._mark(account, rejected=False)

    def _mark(self, account: Account, *, rejected: bool) -> None:
        task = self._loop.create_task(self._write(account, rejected))
        self._marking.add(task)
        task.add_done_callback(self._marking.discard)

    async def _write(self, account: Account, rejected: bool) -> None:
        fields = {"account": account.id}
        extra = {"fields": fields}
        if rejected:
            _logger.warning("NanoGPT rejects the key of an account", extra=extra)
        try:
            await self._directory.judge_key(account, rejected=rejected)
        except ProxyError as error:
            fields["why"] = error.message
            _logger.error("cannot write down whether NanoGPT takes a key", extra=extra)


class Doubt:
    """An answer 401, held until it is whole and shows whether it is about the key."""

    def __init__(self, rejections: Rejections, account: Account, head: AnswerHead) -> None:
        self._rejections = rejections
        self._account = account
        self._head: AnswerHead | None = head
        self._chunks: list[bytes] = []
        self._size = 0

    def hold(
        self, chunks: list[bytes], ended: bool
    ) -> tuple[AnswerHead | None, list[bytes]] | Refusal:
        """What of the answer is to be passed on now, which is nothing while in doubt; or what to
        answer in its place."""
        if self._head is None:
            return None, chunks
        self._chunks += chunks
        self._size += sum(map(len, chunks))
        if self._size <= _MOST:
            if not ended:
                return None, []
            if is_about_the_key(b"".join(self._chunks)):
                return self._rejections.reject(self._account)
        head, self._head = self._head, None
        chunks, self._chunks = self._chunks, []
        return head, chunks


def is_about_the_key(body: bytes) -> bool:
    """Whether the body of an answer 401 has one of the shapes for a bad or missing key."""
    try:
        answer: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return False
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        words = (error.get("code"), error.get("type"))
        return any(isinstance(word, str) and word in _CODES for word in words)
    return error == "Invalid session"
