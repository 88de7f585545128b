"""What can go wrong, by name. `README.md` lists what each does and which arguments it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from standin.answers import Answer
from standin.call import Call
from standin.scenarios import broken, refusals, streams, timing

Play = Callable[[Call, Answer], Awaitable[web.StreamResponse]]

SCENARIOS: dict[str, Play] = {
    # said differently: the routes themselves look at these names
    "ok": timing.ok,
    "echo": timing.ok,
    "upload": timing.ok,
    "reasoning": timing.ok,
    "tools": timing.ok,
    # when
    "slow": timing.slow,
    "silent": timing.silent,
    "paced": timing.paced,
    "comments": timing.comments,
    "dribble": timing.dribble,
    "one-write": timing.one_write,
    "die-before-head": timing.die_before_head,
    # refused
    "402": refusals.no_balance,
    "403": refusals.forbidden,
    "413": refusals.too_large,
    "429": refusals.too_many,
    "500": refusals.server_error,
    "503": refusals.unavailable,
    "string-error": refusals.string_error,
    "html-error": refusals.html_error,
    "model_not_supported": refusals.not_supported,
    "status": refusals.status,
    "redirect": refusals.redirect,
    "204": refusals.empty,
    "304": refusals.not_modified,
    # the bytes and their end
    "error-frame": streams.error_frame,
    "eof": streams.eof,
    "abrupt": streams.abrupt,
    "crlf": streams.crlf,
    "split-utf8": streams.split_utf8,
    "gzip": streams.gzip,
    "until-close": streams.until_close,
    "http10": streams.http10,
    "big": streams.big,
    "long-event": streams.long_event,
    # HTTP itself
    "stray-bytes": broken.stray_bytes,
    "1xx": broken.informational,
    "trailers": broken.trailers,
    "bad-chunk": broken.bad_chunk,
    "bad-head": broken.bad_head,
    "set-cookie": broken.set_cookie,
    "no-request-id": broken.no_request_id,
    "close": broken.close,
    "idle-close": broken.idle_close,
}

EARLY: dict[str, Play] = {
    # these act before the body is read, and so without an answer of the route
    "early-answer": broken.early_answer,
    "never-reads": broken.never_reads,
}
