"""Proves what leaves the house: canaries go into the real gateway, NanoGPT is a recorder."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nanogpt_proxy import app
from nanogpt_proxy.accounts import Accounts
from nanogpt_proxy.models import Secret
from nanogpt_proxy.opening import open_store_and_vault
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.verification.bodies import MARK
from nanogpt_proxy.verification.calls import Call, Caller
from nanogpt_proxy.verification.canaries import Canaries
from nanogpt_proxy.verification.recorder import Recorder, Seen

__all__ = ["Finding", "Verdict", "verify"]

_LONG = 200_000  # bytes: more than is looked at in one go
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One call: the status it was answered with, what went up of it, and what is wrong."""

    what: str
    status: str
    sent: tuple[Seen, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sums."""

    calls: int
    canaries: int
    faults: int


def verify(settings: Settings, tell: Callable[[Finding], None]) -> Verdict:
    """Sends every call, tells of each, and returns the sums.

    The settings are the operator's; store, keys, token and addresses are made for this alone, and
    the user is named by the plain header, under the name that it has by default.
    """
    with tempfile.TemporaryDirectory(prefix="nanogpt-proxy-") as directory:
        return app.run(_verify(settings, Path(directory), tell))


async def _verify(settings: Settings, place: Path, tell: Callable[[Finding], None]) -> Verdict:
    recorder = Recorder()
    async with recorder.listening():
        key = Secret(f"sk-nano-{uuid.uuid4()}")
        token = Secret("npt-" + secrets.token_urlsafe(32))
        chosen = _throw_away(settings, place, recorder.port, token)
        opened = await open_store_and_vault(chosen)
        try:
            canaries = Canaries()
            canaries.add("connection token", token.reveal())
            email = canaries.new("e-mail") + "@example.com"
            await Accounts(opened.store, opened.vault).add(email, key)
            async with app.running(chosen, opened, (token,)) as (server, _):
                _, port = await server.listen()
                check = _Check(recorder, canaries, key, port, tell)
                caller = Caller(canaries, token.reveal(), email)
                for call in caller.calls(min(_LONG, chosen.max_json_bytes // 2)):
                    await check.run(call)
                await server.drain(0)
                check.end()
            return Verdict(check.calls, len(canaries), check.faults)
        finally:
            await opened.store.close()


def _throw_away(settings: Settings, place: Path, port: int, token: Secret) -> Settings:
    return replace(
        _named_plainly(settings),
        proxy_host="127.0.0.1",
        proxy_port=0,
        data_dir=place,
        database_url=None,
        db_encryption_key=None,
        db_encryption_key_previous=None,
        proxy_token=(token,),
        upstream_url=f"http://127.0.0.1:{port}/api/v1",
        upstream_ca_file=None,
        https_proxy=None,
        log_requests=False,
    )


def _named_plainly(settings: Settings) -> Settings:
    usual = Settings()
    return replace(
        settings,
        openwebui_jwt_secret=None,
        openwebui_jwt_secret_previous=None,
        forward_user_info_header_jwt=usual.forward_user_info_header_jwt,
        forward_user_info_header_user_email=usual.forward_user_info_header_user_email,
        forward_user_info_header_user_id=usual.forward_user_info_header_user_id,
        forward_user_info_header_user_role=usual.forward_user_info_header_user_role,
        anonymous_calls="deny",
        service_api_key=None,
    )


class _Check:
    """Sends calls one after the other and looks at what arrived."""

    def __init__(
        self,
        recorder: Recorder,
        canaries: Canaries,
        key: Secret,
        port: int,
        tell: Callable[[Finding], None],
    ) -> None:
        self._recorder = recorder
        self._canaries = canaries
        self._key = key.reveal().encode()
        self._port = port
        self._tell = tell
        self.calls = 0
        self.faults = 0

    async def run(self, call: Call) -> None:
        status = await self._ask(call.data)
        seen = self._recorder.take()
        faults = [fault for each in seen for fault in self._faults(each)]
        if call.goes_up and not (status.startswith("2") and len(seen) == 1):
            faults.append(f"not proved: the call did not go up, but was answered {status}")
        elif call.goes_up and MARK.encode() in call.data and MARK.encode() not in seen[0].body:
            faults.append("not proved: the user's words did not go up")
        self.calls += 1
        self.faults += len(faults)
        hidden = tuple(_without_key(each, self._key) for each in seen)
        self._tell(Finding(call.what, status, hidden, tuple(faults)))

    def end(self) -> None:
        """Looks at what arrived after all answers."""
        faults = [fault for each in self._recorder.take() for fault in self._faults(each)]
        self.faults += len(faults)
        if faults:
            self._tell(Finding("after all calls", "none", (), tuple(faults)))

    async def _ask(self, data: bytes) -> str:
        """The status of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.timeout(_SECONDS):
                writer.write(data)
                answer = await reader.read()
        except (OSError, TimeoutError):
            return "none"
        finally:
            writer.close()
        return answer[9:12].decode("latin-1") or "none"

    def _faults(self, seen: Seen) -> list[str]:
        places = set(self._canaries.found(seen.raw)) | set(self._canaries.found(seen.body))
        faults = [f"left the house: {place}" for place in sorted(places)]
        if b"\r\ncontent-encoding:" in seen.raw.lower():
            faults.append("left the house unread: a compressed body")
        if seen.raw.count(self._key) > 1:
            faults.append("the user's key went up in more than one place")
        return faults


def _without_key(seen: Seen, key: bytes) -> Seen:
    stars = b"<the user's key>"
    return Seen(*(part.replace(key, stars) for part in (seen.raw, seen.head, seen.body)))
