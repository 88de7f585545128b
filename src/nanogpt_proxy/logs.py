"""Log lines: what happened, and one line per request.

Both formats keep each event on one line: what a stranger can put into a value is escaped, so that
nobody forges a line. Neither ever holds a path of a request or a key, nor an e-mail unless
`LOG_USERS` asks for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Format = Literal["text", "json"]

_QUIET = ("asyncio", "alembic", "sqlalchemy")
"""Loggers of libraries that tell too much below a warning: slow callbacks, statements, values."""


def configure(level: str, format: Format, stream: TextIO | None = None) -> None:
    """Send every logger of this process to `stream`, standard error by default."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A broken standard error must not end a request, and has nobody to tell.
    logging.raiseExceptions = False


class _Text(logging.Formatter):
    """`2026-11-23T20:00:00.123Z info    message key=value …`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_stamp(record.created)} {record.levelname.lower():<7} "
        line = head + _plain(record.getMessage()) + _pairs(_fields(record))
        trace = self.formatException(record.exc_info).splitlines() if record.exc_info else ()
        return "\n    ".join([line, *map(_plain, trace)])


class _Json(logging.Formatter):
    """One object per line: `time`, `level`, `message`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event | _fields(record) | event, default=str)  # no field hides ours


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _pairs(fields: Mapping[str, Any]) -> str:
    return "".join(f" {_plain(str(name))}={_value(value)}" for name, value in fields.items())


def _plain(text: str) -> str:
    """The text with everything escaped that could end the line or move the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _value(value: object) -> str:
    """Quoted where the end of the value would be in doubt."""
    text = "-" if value is None else str(value)
    if text.isprintable() and text and not any(c in text for c in ' "='):
        return text
    return json.dumps(text)


def _stamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


_TEXT_LINE = (
    "%s.%03dZ info    request id=%s account=%s method=%s route=%s status=%d outcome=%s ms=%.1f"
    " first_byte_ms=%s sent=%d received=%d\n"
)
_JSON_LINE = (
    '{"time": "%s.%03dZ", "level": "info", "message": "request", "id": "%s", "account": %s,'
    ' "method": "%s", "route": "%s", "status": %d, "outcome": "%s", "ms": %.1f,'
    ' "first_byte_ms": %s, "sent": %d, "received": %d}\n'
)


class AccessLog:
    """One line per request, gathered and written together: a write for each would cost more
    than the request. A line waits at most `delay` seconds; `close` writes what is left.
    """

    def __init__(
        self,
        stream: TextIO,
        format: Format,
        loop: asyncio.AbstractEventLoop,
        *,
        delay: float = 0.1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._loop = loop
        self._delay = delay
        self._clock = clock
        as_json = format == "json"
        self._line = _JSON_LINE if as_json else _TEXT_LINE
        self._nothing = "null" if as_json else "-"
        self._account = '"%s"' if as_json else "%s"
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._date = ""

    def write(
        self,
        *,
        request_id: str,
        account: str | None,
        method: str,
        route: str,
        status: int,
        outcome: str,
        ms: float,
        first_byte_ms: float | None,
        sent: int,
        received: int,
    ) -> None:
        """`account` is a pseudonym, or an e-mail where the operator wants it; `route` is the name
        of the route, never the path.

        `request_id`, `account` and `method` may be a stranger's, all other words are our own.
        """
        now = self._clock()
        second = int(now)
        if second != self._second:  # the date is formatted once a second
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._lines.append(
            self._line
            % (
                self._date,
                (now - second) * 1000,
                _word(request_id),
                self._nothing if account is None else self._account % _word(account),
                _word(method),
                route,
                status,
                outcome,
                ms,
                self._nothing if first_byte_ms is None else f"{first_byte_ms:.1f}",
                sent,
                received,
            )
        )
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._flush)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        text, self._lines = "".join(self._lines), []
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # standard error is broken or closed: requests go on without it


_UNSAFE = re.compile(r'[^!-~]|["\\=]')
_usual_word = re.compile(r"[A-Za-z0-9._:-]+").fullmatch


def _word(text: str) -> str:
    """One printable word without quotes or backslashes, which both formats hold as it is."""
    if _usual_word(text):
        return text
    return _UNSAFE.sub("?", text) or "-"
