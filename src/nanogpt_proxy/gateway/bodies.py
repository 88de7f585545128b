"""Hop 6: the two ways a request body is treated: held until it is whole, or passed on."""

from __future__ import annotations

from collections.abc import Callable

from nanogpt_proxy.gateway.budget import BodyBudget
from nanogpt_proxy.gateway.multipart import Filter
from nanogpt_proxy.gateway.refusals import too_large
from nanogpt_proxy.gateway.server import ClientConnection, Phase, Request
from nanogpt_proxy.settings import Settings

# What a body of unknown length may hold before it must reserve the most that it can become.
_FIRST_RESERVE = 64 * 1024


class HeldBody:
    """A JSON body: kept, within everybody's budget, until it is whole.

    What it will need is reserved before it is read; without room the client waits, unread.
    """

    def __init__(
        self,
        client: ClientConnection,
        request: Request,
        budget: BodyBudget,
        settings: Settings,
        granted: Callable[[], None],
    ) -> None:
        """`granted` is called when room was found for a body that had to wait."""
        self._client = client
        self._request = request
        self._budget = budget
        self._settings = settings
        self._granted = granted
        self._pieces: list[bytes] = []
        self._reserved = 0

    @property
    def waits_for_room(self) -> bool:
        return self._request.received > self._reserved

    @property
    def is_large(self) -> bool:
        """Whether the kernel takes more than a moment for it."""
        return self._reserved > _FIRST_RESERVE

    def arrived(self) -> bytes | None:
        """Takes what came; the body when it is whole. Raises `Refusal` (413)."""
        request, settings = self._request, self._settings
        if request.received > settings.max_json_bytes:
            raise too_large(settings.max_json_bytes)
        if self.waits_for_room and not self._reserve():
            self._client.pause_reading()
            return None
        self._pieces += request.take()
        if not request.complete:
            self._client.expect(Phase.BODY, settings.body_timeout)
            return None
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._give(self._reserved - len(body))
        return body

    def release(self) -> None:
        """The body is not held any more, or not wanted."""
        self._budget.forget(self)
        self._pieces.clear()
        self._give(self._reserved)

    def _reserve(self) -> bool:
        missing = self._most() - self._reserved
        if self._budget.take(self, missing, lambda: self._take(missing)):
            self._reserved += missing
            return True
        return False

    def _most(self) -> int:
        request = self._request
        if request.content_length is not None:
            return request.content_length
        if request.received <= _FIRST_RESERVE:
            return _FIRST_RESERVE
        return self._settings.max_json_bytes

    def _take(self, size: int) -> None:
        self._reserved += size
        self._client.resume_reading()
        self._granted()

    def _give(self, size: int) -> None:
        if size > 0:
            self._reserved -= size
            self._budget.give(size)


class PassedBody:
    """A multipart body: passed on as it comes, but for what identifies people.

    How long it will be is not known before all of it is here, so it goes up in chunks.
    """

    FRAMING = b"transfer-encoding: chunked\r\n"
    """The header line that frames it."""

    def __init__(self, request: Request, limit: int) -> None:
        """Raises `Refusal` (400)."""
        self._request = request
        self._limit = limit
        self._parts = Filter(request.fields.get(b"content-type", b""))

    def arrived(self) -> bytes:
        """What may go up of what came, framed. Raises `Refusal` (400, 413)."""
        request = self._request
        if request.received > self._limit:
            raise too_large(self._limit)
        data = self._parts.feed(b"".join(request.take()))
        if data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if request.complete:
            self._parts.end()
            data += b"0\r\n\r\n"
        return data
