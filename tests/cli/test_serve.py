"""What is said once the proxy listens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nanogpt_proxy.cli.serve import announce

Cli = Callable[..., Any]
TOKEN = "npt-0123456789abcdef"


def listening(host: str = "127.0.0.1", **values: Any) -> Any:
    token = SimpleNamespace(reveal=lambda: TOKEN)
    defaults = {"host": host, "port": 3000, "first_start": False, "notes": (), "token": token}
    return SimpleNamespace(**(defaults | {"jwt_secret": None} | values))


def test_in_a_log_it_says_where_the_token_is(capsys: pytest.CaptureFixture[str]) -> None:
    announce(listening(notes=("back it up",)))
    out, err = capsys.readouterr()
    assert "http://127.0.0.1:3000\n" in out
    assert "OPENAI_API_BASE_URL=http://127.0.0.1:3000/v1\n" in out
    assert "ENABLE_FORWARD_USER_INFO_HEADERS=true\n" in out
    assert "token: run `nanogpt-proxy token`\n" in out
    assert TOKEN not in out + err
    assert err == "nanogpt-proxy: hint: back it up\n"


def test_at_a_terminal_it_shows_the_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    announce(listening())
    out = capsys.readouterr().out
    assert f"OPENAI_API_KEY={TOKEN}\n" in out
    assert "nanogpt-proxy token" not in out


@pytest.mark.parametrize("eyes", [True, False])
def test_a_shared_secret_is_one_more_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], eyes: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: eyes)
    announce(listening(jwt_secret=SimpleNamespace(reveal=lambda: "shared")))
    shown = "shared" if eyes else "<OPENWEBUI_JWT_SECRET>"
    assert f"FORWARD_USER_INFO_HEADER_JWT_SECRET={shown}\n" in capsys.readouterr().out


def test_an_ipv6_address_becomes_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    announce(listening("::1"))
    assert "http://[::1]:3000/v1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:3000"), ("::", "http://[::1]:3000")],  # noqa: S104
)
def test_all_addresses_become_one_that_works(
    capsys: pytest.CaptureFixture[str], host: str, url: str
) -> None:
    announce(listening(host))
    out = capsys.readouterr().out
    assert f"OPENAI_API_BASE_URL={url}/v1\n" in out
    assert "in place of" in out


def test_the_exit_code_is_that_of_the_service(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    app = ModuleType("nanogpt_proxy.app")
    seen: list[Any] = []

    def serve(settings: Any, *, announce: Any) -> int:
        seen.append((settings.proxy_port, announce))
        return 7

    app.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nanogpt_proxy.app", app)
    monkeypatch.setattr("nanogpt_proxy.app", app, raising=False)
    assert cli("serve").code == 7
    assert seen == [(3000, announce)]
