from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.logs import AccessLog, Format, configure

logger = logging.getLogger("nanogpt_proxy.test")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before


def _logged(format: Format, message: str, **fields: Any) -> str:
    stream = io.StringIO()
    configure("info", format, stream)
    logger.info(message, extra={"fields": fields})
    return stream.getvalue()


def test_a_text_line_has_time_level_message_and_fields() -> None:
    line = _logged("text", "listening", host="::1", port=3000, name="a b", nothing=None)
    stamp, rest = line.split(" ", 1)
    assert rest == 'info    listening host=::1 port=3000 name="a b" nothing=-\n'
    assert stamp.endswith("Z") and len(stamp) == len("2026-11-23T20:00:00.123Z")
    datetime.fromisoformat(stamp)


def test_a_json_line_is_one_object() -> None:
    event = json.loads(_logged("json", "listening", port=3000, level="forged"))
    datetime.fromisoformat(event.pop("time"))
    assert event == {"level": "info", "message": "listening", "port": 3000}


@given(st.text(), st.text())
def test_nothing_in_a_value_ends_the_line(message: str, value: str) -> None:
    for format in ("text", "json"):
        line = _logged(format, message, field=value)
        assert line.endswith("\n")
        assert line[:-1].isprintable()


def test_a_message_cannot_forge_a_line() -> None:
    line = _logged("text", "hello\r\n2026-11-23T20:00:00.123Z info forged\x1b[2J")
    assert line.count("\n") == 1
    assert r"hello\r\n2026" in line
    assert r"forged\x1b[2J" in line


def test_a_traceback_is_shown_without_locals_and_cannot_forge_a_line() -> None:
    key = "sk-nano-" + "0" * 8  # what no traceback may show
    for format in ("text", "json"):
        stream = io.StringIO()
        configure("info", format, stream)
        try:
            raise RuntimeError("first\nsecond" if key else "")
        except RuntimeError:
            logger.exception("failed")
        text = stream.getvalue()
        assert "RuntimeError: first" in text
        assert key not in text
        if format == "text":
            assert all(line.startswith("    ") for line in text.splitlines()[1:])
        else:
            assert text.count("\n") == 1
            assert "second" in json.loads(text)["traceback"]


def test_levels_below_the_chosen_one_are_silent_and_libraries_below_warning() -> None:
    stream = io.StringIO()
    configure("debug", "text", stream)
    logger.debug("ours")
    logging.getLogger("asyncio").info("Using selector")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    assert stream.getvalue().count("\n") == 1
    configure("error", "text", stream)
    logger.warning("unheard")
    logging.getLogger("asyncio").warning("unheard")
    assert "unheard" not in stream.getvalue()


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "text")
    logger.info("hello")
    assert "hello" in capsys.readouterr().err
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


ENTRY: dict[str, Any] = {
    "request_id": "r1",
    "account": "ab12",
    "method": "POST",
    "route": "chat/completions",
    "status": 200,
    "outcome": "complete",
    "ms": 12.34,
    "first_byte_ms": 5.0,
    "sent": 10,
    "received": 20,
}


async def test_a_request_is_one_line_of_text() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "text", asyncio.get_running_loop(), clock=lambda: 1795464000.1234)
    log.write(**ENTRY)
    log.write(**ENTRY | {"account": None, "first_byte_ms": None})
    log.close()
    assert stream.getvalue() == (
        "2026-11-23T20:00:00.123Z info    request id=r1 account=ab12 method=POST "
        "route=chat/completions status=200 outcome=complete ms=12.3 first_byte_ms=5.0 "
        "sent=10 received=20\n"
        "2026-11-23T20:00:00.123Z info    request id=r1 account=- method=POST "
        "route=chat/completions status=200 outcome=complete ms=12.3 first_byte_ms=- "
        "sent=10 received=20\n"
    )


async def test_a_request_is_one_json_object() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "json", asyncio.get_running_loop(), clock=lambda: 1795464000.1234)
    log.write(**ENTRY)
    log.write(**ENTRY | {"account": None, "first_byte_ms": None})
    log.close()
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first == {
        "time": "2026-11-23T20:00:00.123Z",
        "level": "info",
        "message": "request",
        "id": "r1",
        **{k: v for k, v in ENTRY.items() if k != "request_id"},
        "ms": 12.3,
    }
    assert (second["account"], second["first_byte_ms"]) == (None, None)


async def test_a_strangers_words_stay_one_word() -> None:
    loop = asyncio.get_running_loop()
    text, objects = io.StringIO(), io.StringIO()
    for stream, format in ((text, "text"), (objects, "json")):
        log = AccessLog(stream, format, loop)  # type: ignore[arg-type]
        log.write(**ENTRY | {"request_id": 'a b"\\\n=é', "method": ""})
        log.close()
    assert " id=a?b????? method" not in text.getvalue()
    assert " id=a?b????? account=ab12 method=- " in text.getvalue()
    assert json.loads(objects.getvalue())["id"] == "a?b?????"


async def test_lines_are_gathered_and_written_soon() -> None:
    class Recorder(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.writes: list[str] = []
            self.written = asyncio.Event()

        def write(self, text: str) -> int:
            self.writes.append(text)
            self.written.set()
            return len(text)

    stream = Recorder()
    loop = asyncio.get_running_loop()
    log = AccessLog(stream, "text", loop)
    began = loop.time()
    for _ in range(100):
        log.write(**ENTRY)
    assert stream.writes == []
    await stream.written.wait()
    assert loop.time() - began < 1
    assert [text.count("\n") for text in stream.writes] == [100]
    log.close()
    assert len(stream.writes) == 1


async def test_a_closed_stream_does_not_end_requests() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, "text", asyncio.get_running_loop())
    log.write(**ENTRY)
    stream.close()
    log.close()
    log.close()
