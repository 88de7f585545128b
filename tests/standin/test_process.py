"""The launcher, what it tells of the requests received, and what the stand-in endures."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from standin.process import NeverHappened, StandIn
from standin.scenarios import SCENARIOS
from tests.standin.conftest import KEY, chat_body


async def test_records_what_came_in_the_order_it_came(
    client: aiohttp.ClientSession, nano: StandIn
) -> None:
    since = nano.clear()
    async with client.post("chat/completions?a=b+c", json=chat_body("standin/ok")) as answer:
        await answer.read()
    async with client.get("models") as answer:
        await answer.read()
    first, second = nano.requests(since)
    assert (first["method"], first["path"]) == ("POST", "/api/v1/chat/completions")
    assert (first["query"], first["key"], first["scenario"]) == ("a=b+c", KEY, "ok")
    assert b"standin/ok" in base64.b64decode(first["body"]["base64"])
    assert ["Authorization", f"Bearer {KEY}"] in first["headers"]
    assert (first["status"], first["outcome"]) == (200, "answered")
    assert (second["connection"], second["turn"]) == (first["connection"], first["turn"] + 1)
    assert nano.requests(since, path="/models") == [second]
    assert nano.requests(second["number"]) == []


def test_a_client_that_leaves_is_noticed_at_once(nano: StandIn) -> None:
    since = nano.state()["last"]
    with socket.create_connection((nano.host, nano.port)) as line:
        line.sendall(
            b"POST /api/v1/embeddings?scenario=slow:60 HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{}" % KEY.encode()
        )
        number = nano.wait_next(since, "body", path="/embeddings")["request"]["number"]
        assert nano.wait_until(in_flight=1)["peak"] >= 1
        left = time.monotonic()
    assert 0 <= nano.wait_closed(number) - left < 0.1
    nano.wait_until(in_flight=0)
    assert nano.wait_for(number, "closed")["request"]["outcome"] == "client_gone"


def test_what_never_happens_is_said(nano: StandIn) -> None:
    with pytest.raises(NeverHappened):
        nano.wait_next(nano.state()["last"], timeout=0.05)
    with pytest.raises(RuntimeError, match="event is one of"):
        nano.wait_for(1, "lunch")


async def test_paths_can_be_ordered_to_fail(client: aiohttp.ClientSession, nano: StandIn) -> None:
    nano.order({"/models": "503"})
    try:
        async with client.get("models") as answer:
            assert answer.status == 503
        async with client.get("image-models") as answer:
            assert answer.status == 200
    finally:
        nano.order({})
    async with client.get("models") as answer:
        assert answer.status == 200


async def test_bodies_wait_for_100_continue(nano: StandIn) -> None:
    reader, writer = await asyncio.open_connection(nano.host, nano.port)
    writer.write(
        b"POST /api/v1/embeddings HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n" % KEY.encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_thousand_streams_at_once_are_whole_and_in_order(nano: StandIn) -> None:
    async def one(session: aiohttp.ClientSession) -> int:
        body = chat_body("standin/paced:5:0.3", stream=True)
        async with session.post(f"{nano.base_url}/chat/completions", json=body) as answer:
            text = await answer.read()
        return sum(f':{i}"'.encode() in text for i in range(5))

    nano.clear()
    headers = {"Authorization": f"Bearer {KEY}"}
    limit = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=limit) as session:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(session)) for _ in range(1000)]
    assert {task.result() for task in tasks} == {5}
    assert nano.state()["peak"] >= 800


def resident(pid: int) -> int:
    """The highest resident size so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


async def zeros(size: int) -> AsyncIterator[bytes]:
    for _ in range(size >> 16):
        yield bytes(65536)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
async def test_large_bodies_are_never_held(client: aiohttp.ClientSession, nano: StandIn) -> None:
    before = resident(nano.pid)
    form = aiohttp.FormData()
    form.add_field("file", zeros(200 << 20), filename="a.mp3")
    async with client.post("audio/transcriptions", data=form) as answer:
        assert answer.status == 200
    body = {"model": "standin/big:200m"}
    async with client.post("audio/speech", json=body) as answer:
        length = 0
        async for block in answer.content.iter_chunked(1 << 16):
            length += len(block)
    assert length == 200 << 20
    assert resident(nano.pid) - before < 16 << 20


def test_it_ends_with_its_owner() -> None:
    owner = (
        "from standin.process import StandIn; import os;"
        "nano = StandIn().start(); print(nano.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", owner], stdout=subprocess.PIPE, check=True)
    pid = int(done.stdout)
    end = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < end, "the stand-in outlived its owner"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_lists_its_scenarios() -> None:
    command = [sys.executable, "-m", "standin", "--scenarios"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert set(done.stdout.split()) > set(SCENARIOS)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own CA, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "standin")])
    now = datetime.now(UTC)
    place = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(place, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    public, secret = folder / "standin.pem", folder / "standin.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, secret


async def test_it_speaks_tls(tmp_path: Path) -> None:
    public, secret = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(public))
    headers = {"Authorization": f"Bearer {KEY}"}
    with StandIn(certificate=public, key=secret) as nano:
        assert nano.base_url.startswith("https://")
        url = f"{nano.base_url}/chat/completions"
        async with aiohttp.ClientSession(headers=headers) as session:
            for scenario in ("ok", "stray-bytes", "set-cookie"):
                body = chat_body(f"standin/{scenario}", stream=True)
                async with session.post(url, json=body, ssl=trust) as answer:
                    assert (await answer.read()).endswith(b"data: [DONE]\n\n")
            with pytest.raises(aiohttp.ClientError):
                body = chat_body("standin/abrupt", stream=True)
                async with session.post(url, json=body, ssl=trust) as answer:
                    await answer.read()
        nano.wait_closed(4)
        assert nano.requests(3)[0]["outcome"] == "cut"
