"""Every byte is written down, of requests that break off too."""

from __future__ import annotations

import asyncio

from nanogpt_proxy.verification.recorder import Recorder

LENGTH = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = (
    b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: a\r\n\r\n"
)
EMPTY = b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_requests_are_written_down_and_answered() -> None:
    recorder = Recorder()
    async with recorder.listening():
        reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
        for sent in (LENGTH, CHUNKS, EMPTY):
            writer.write(sent[:20])
            await asyncio.sleep(0)
            writer.write(sent[20:])
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"]}")
        seen = recorder.take()
        writer.close()
    assert [each.raw for each in seen] == [LENGTH, CHUNKS, EMPTY]
    assert [each.body for each in seen] == [b"hello", b"hello", b""]
    assert seen[2].head == EMPTY
    assert recorder.take() == []


async def test_what_breaks_off_is_written_down_too() -> None:
    recorder = Recorder()
    async with recorder.listening():
        reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
        writer.write(CHUNKS[:70])
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        (seen,) = recorder.take()
    assert (seen.raw, seen.body) == (CHUNKS[:70], b"")
