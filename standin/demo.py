"""`make demo`: the stand-in, the proxy and two users, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from nanogpt_proxy.settings import LATER, SETTINGS
from standin.process import StandIn

_USERS = {
    "alice@example.com": "sk-nano-aaaaaaaa-0000-4000-8000-000000000001",
    "bob@example.com": "sk-nano-bbbbbbbb-0000-4000-8000-000000000002",
}
_PROXY = Path(sys.executable).with_name("nanogpt-proxy")
_START_SECONDS = 20.0
_PACE = "0.15"
_USUAL_PORT = 3000


def _environment(folder: Path, upstream: str) -> dict[str, str]:
    """The caller's without any setting, so that the demo never meets real data or secrets."""
    known = {setting.name for setting in SETTINGS} | set(LATER)
    rest = {k: v for k, v in os.environ.items() if k.upper().removesuffix("_FILE") not in known}
    # The first .env found is the one that counts; this one keeps that of the checkout away.
    (folder / ".env").touch()
    return {
        **rest,
        "DATA_DIR": str(folder / "data"),
        "UPSTREAM_URL": upstream,
        "PROXY_PORT": str(_free_port()),
        "DRAIN_SECONDS": "1",
    }


def _free_port() -> int:
    """The usual port, or any other if somebody has it."""
    for port in (_USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("demo: no port is free")


def _run(
    environment: dict[str, str], folder: Path, *arguments: str, given: str | None = None
) -> str:
    """What the command prints; its errors go to the terminal and end the demo."""
    done = subprocess.run(
        [str(_PROXY), *arguments],
        env=environment,
        cwd=folder,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _wait_until_ready(proxy: subprocess.Popen[bytes], base: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if proxy.poll() is not None:
            raise SystemExit("demo: the proxy has ended, see above")
        try:
            with urllib.request.urlopen(f"{base}/health/ready", timeout=1):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("demo: the proxy does not become ready")


def _curl(base: str, token: str, email: str) -> str:
    body = '{"model":"standin/ok","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'
    words = [
        "curl", "-N", f"{base}/v1/chat/completions",
        "-H", f"Authorization: Bearer {token}",
        "-H", f"X-OpenWebUI-User-Email: {email}",
        "-H", "Content-Type: application/json",
        "-d", body,
    ]  # fmt: skip
    return shlex.join(words)


def _explain(base: str, token: str, stand_in: StandIn) -> None:
    print(f"\nNanoGPT's stand-in: {stand_in.base_url}")
    print(f"The proxy:          {base}/v1")
    print(f"Users:              {', '.join(_USERS)}")
    print("\nAsk as the first of them; the answer streams:\n")
    print(_curl(base, token, next(iter(_USERS))))
    print("\nOther models go wrong on purpose: standin/error-frame, standin/slow:3, …")
    print(f"What the stand-in received: {stand_in.origin}/__standin/requests")
    print("\nCtrl-C ends it all.", flush=True)


def _stop(proxy: subprocess.Popen[bytes]) -> None:
    proxy.terminate()
    try:
        proxy.wait(40)
    except subprocess.TimeoutExpired:
        proxy.kill()
        proxy.wait()


def _demo(stack: ExitStack) -> int:
    made = tempfile.TemporaryDirectory(prefix="nanogpt-proxy-demo-")
    folder = Path(stack.enter_context(made))
    stand_in = stack.enter_context(StandIn("--pace", _PACE))
    environment = _environment(folder, stand_in.base_url)
    for email, key in _USERS.items():
        _run(environment, folder, "add-user", email, given=key)
    # Its own session: Ctrl-C reaches the demo alone, which then stops the proxy in order.
    proxy = subprocess.Popen(
        [str(_PROXY), "serve"],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_stop, proxy)
    base = f"http://127.0.0.1:{environment['PROXY_PORT']}"
    _wait_until_ready(proxy, base)
    _explain(base, _run(environment, folder, "token"), stand_in)
    return proxy.wait()


def main() -> int:
    # SIGTERM ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            return _demo(stack)
    except KeyboardInterrupt:
        print("\ndemo: ended")
        return 0
    except subprocess.CalledProcessError as error:
        print(f"demo: {shlex.join(error.cmd[1:2])} failed, see above", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
