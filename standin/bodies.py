"""What a request carried: hashed as it comes, held in memory only as JSON of bounded size."""

from __future__ import annotations

import json
import zlib
from typing import Any, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web

from standin.errors import Problem
from standin.recorder import Json, SeenBody

MAX_JSON = 32 * 1024 * 1024
"""NanoGPT's cap, on the compressed and on the decompressed size."""
_MAX_FIELD = 64 * 1024
_PIECE = 64 * 1024


class Intake:
    """A request's body, feeding the record as it is read; what `MultipartReader` reads from."""

    def __init__(self, content: StreamReader, seen: SeenBody) -> None:
        self._content = content
        self._seen = seen
        self._buffer = bytearray()

    async def _fill(self) -> bool:
        chunk = await self._content.readany()
        self._seen.feed(chunk)
        self._buffer += chunk
        return bool(chunk)

    async def peek(self) -> bytes:
        """What came first, without taking it away; `b""` for an empty body."""
        if not self._buffer and not self._content.at_eof():
            await self._fill()
        return bytes(self._buffer[:_PIECE])

    async def read(self, size: int) -> bytes:
        if not self._buffer:
            await self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        limit = max_line_length or MAX_JSON
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > limit:
                raise Problem(400, "invalid_multipart_body", "A line is too long.")
            if not await self._fill():
                return await self.read(len(self._buffer)) if self._buffer else b""
        return await self.read(end + 1)

    def at_eof(self) -> bool:
        return not self._buffer and self._content.at_eof()

    def unread_data(self, data: bytes) -> None:
        self._buffer[:0] = data

    async def drain(self) -> None:
        """Read to the end and throw away."""
        self._buffer.clear()
        while await self._fill():
            self._buffer.clear()

    async def all(self, limit: int) -> bytes:
        """The whole body; `Problem` 413 when it is longer than `limit`."""
        while await self._fill():
            if len(self._buffer) > limit:
                self._buffer.clear()
                raise Problem(413, "request_too_large", "Request body is too large.")
        whole = bytes(self._buffer)
        self._buffer.clear()
        return whole


def _inflate(body: bytes, coding: str) -> bytes:
    window = {"gzip": 31, "x-gzip": 31, "deflate": 15}.get(coding)
    if window is None:
        raise Problem(415, "unsupported_content_encoding", f"Unsupported encoding: {coding}")
    try:
        stream = zlib.decompressobj(window)
        plain = stream.decompress(body, MAX_JSON + 1)
    except zlib.error as error:
        raise Problem(400, "invalid_content_encoding", "The body is not what it says.") from error
    if len(plain) > MAX_JSON:
        raise Problem(413, "request_too_large", "Request body is too large.")
    return plain


async def read_json(request: web.BaseRequest, intake: Intake) -> Json:
    """The JSON object sent, decompressed if need be."""
    body = await intake.all(MAX_JSON)
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        body = _inflate(body, coding)
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Problem(400, "invalid_json", "Invalid JSON in request body.") from error
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "The request body must be a JSON object.")
    return value


async def read_parts(request: web.BaseRequest, intake: Intake) -> list[Json]:
    """The parts of a multipart body: fields with their text, files with length and hash."""
    try:
        reader = MultipartReader(request.headers, cast(StreamReader, intake))
        parts = []
        while (part := await reader.next()) is not None:
            parts.append(await _read_part(part))
        await intake.drain()
    except (ValueError, AssertionError, EOFError) as error:
        raise Problem(400, "invalid_multipart_body", "Invalid multipart body.") from error
    return parts


async def _read_part(part: MultipartReader | BodyPartReader | Any) -> Json:
    if not isinstance(part, BodyPartReader):
        raise Problem(400, "invalid_multipart_body", "Nested parts are not supported.")
    seen = SeenBody()
    while chunk := await part.read_chunk(_PIECE):
        seen.feed(chunk)
    found: Json = {"name": part.name, "length": seen.length, "sha256": seen.sha256}
    if part.filename is not None:
        return {**found, "filename": part.filename, "type": part.headers.get("Content-Type")}
    if seen.kept is None or seen.length > _MAX_FIELD:
        raise Problem(413, "request_too_large", f"The field {part.name} is too long.")
    return {**found, "text": seen.kept.decode("utf-8", "replace")}
