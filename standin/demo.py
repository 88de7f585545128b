"""`make demo`: the stand-in, the proxy and two users, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from standin.process import StandIn

_USERS = {
    "alice@example.com": "sk-nano-aaaaaaaa-0000-4000-8000-000000000001",
    "bob@example.com": "sk-nano-bbbbbbbb-0000-4000-8000-000000000002",
}
_PROXY = Path(sys.executable).with_name("nanogpt-proxy")
_START_SECONDS = 20.0
_PACE = "0.15"


def _environment(data: str, upstream: str) -> dict[str, str]:
    """The caller's, but with nothing of it that could lead the demo to real data or keys."""
    # An empty value counts as unset but still wins over a `.env` of the checkout.
    theirs = ("PROXY_TOKEN", "DB_ENCRYPTION_KEY", "DATABASE_URL", "HTTPS_PROXY", "https_proxy")
    mine = {name: "" for name in theirs}
    mine |= {f"{name}_FILE": "" for name in theirs[:3]}
    settings = {
        "DATA_DIR": data,
        "UPSTREAM_URL": upstream,
        "PROXY_HOST": "127.0.0.1",
        "PROXY_PORT": os.environ.get("PROXY_PORT") or "3000",
    }
    return {**os.environ, **mine, **settings}


def _run(environment: dict[str, str], *arguments: str, given: str | None = None) -> str:
    """What the command prints; its errors go to the terminal and end the demo."""
    done = subprocess.run(
        [str(_PROXY), *arguments],
        env=environment,
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
    data = stack.enter_context(tempfile.TemporaryDirectory(prefix="nanogpt-proxy-demo-"))
    stand_in = stack.enter_context(StandIn("--pace", _PACE))
    environment = _environment(data, stand_in.base_url)
    for email, key in _USERS.items():
        _run(environment, "add-user", email, given=key)
    # Its own session: Ctrl-C reaches the demo alone, which then stops the proxy in order.
    proxy = subprocess.Popen(
        [str(_PROXY), "serve"],
        env={**environment, "DRAIN_SECONDS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    stack.callback(_stop, proxy)
    base = f"http://127.0.0.1:{environment['PROXY_PORT']}"
    _wait_until_ready(proxy, base)
    _explain(base, _run(environment, "token"), stand_in)
    return proxy.wait()


def main() -> int:
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
