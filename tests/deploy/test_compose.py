"""What compose.yaml promises; the file itself is read, no engine is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogpt_proxy.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
BASE_URL = "http://proxy:3000/v1"
# Of Open WebUI: every service that it can reach through the proxy.
SERVICES = (
    "OPENAI",
    "IMAGES_OPENAI",
    "IMAGES_EDIT_OPENAI",
    "AUDIO_TTS_OPENAI",
    "AUDIO_STT_OPENAI",
    "RAG_OPENAI",
)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


@pytest.fixture(scope="module")
def proxy(services: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = services["proxy"]
    return found


@pytest.fixture(scope="module")
def open_webui(services: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = services["open-webui"]
    return found


def test_every_port_is_published_on_this_machine_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_proxy_runs_without_rights_it_does_not_need(proxy: dict[str, Any]) -> None:
    assert proxy["read_only"] is True
    assert proxy["cap_drop"] == ["ALL"]
    assert proxy["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in proxy  # that of the image stays in force
    assert "privileged" not in proxy


def test_only_data_and_tmp_can_be_written(proxy: dict[str, Any]) -> None:
    assert [volume.partition(":")[2] for volume in proxy["volumes"]] == ["/data"]
    assert [mount.partition(":")[0] for mount in proxy["tmpfs"]] == ["/tmp"]  # noqa: S108


def test_a_dot_env_made_for_this_machine_does_not_move_the_proxy(proxy: dict[str, Any]) -> None:
    environment = proxy["environment"]
    assert environment["PROXY_HOST"] == "0.0.0.0"  # noqa: S104
    assert environment["PROXY_PORT"] == "3000"
    assert environment["DATA_DIR"] == "/data"
    assert proxy["ports"][0].endswith(":3000")


def test_without_a_token_nothing_starts_and_the_mend_is_named(proxy: dict[str, Any]) -> None:
    assert proxy["environment"]["PROXY_TOKEN"].startswith("${PROXY_TOKEN:?")
    assert "make env" in proxy["environment"]["PROXY_TOKEN"]


def test_running_answers_may_end_before_the_container_is_killed(proxy: dict[str, Any]) -> None:
    defaults = {setting.attribute: setting.default for setting in SETTINGS}
    draining = sum(defaults[name] for name in ("drain_delay", "drain_seconds"))
    assert float(proxy["stop_grace_period"].removesuffix("s")) > draining


def test_open_webui_comes_only_when_asked_for(
    proxy: dict[str, Any], open_webui: dict[str, Any]
) -> None:
    assert "profiles" not in proxy
    assert open_webui["profiles"] == ["open-webui"]
    assert open_webui["depends_on"] == {"proxy": {"condition": "service_healthy"}}


@pytest.mark.parametrize("service", SERVICES)
def test_open_webui_reaches_every_service_through_the_proxy(
    open_webui: dict[str, Any], service: str
) -> None:
    environment = open_webui["environment"]
    assert environment[f"{service}_API_BASE_URL"] == BASE_URL
    assert environment[f"{service}_API_KEY"] == "${OPEN_WEBUI_TOKEN:-${PROXY_TOKEN:-}}"


def test_open_webui_says_who_is_asking(open_webui: dict[str, Any]) -> None:
    environment = open_webui["environment"]
    assert environment["ENABLE_FORWARD_USER_INFO_HEADERS"] == "true"
    assert environment["FORWARD_USER_INFO_HEADER_JWT_SECRET"] == "${OPENWEBUI_JWT_SECRET:-}"


def test_the_proxy_gets_the_shared_secret_as_it_stands_in_dot_env(proxy: dict[str, Any]) -> None:
    assert proxy["env_file"] == [{"path": ".env", "required": False}]
    # empty it would be refused, so it is not named where an unset one becomes empty
    assert "OPENWEBUI_JWT_SECRET" not in proxy["environment"]


def test_neither_side_gets_the_other_ones_secrets(
    proxy: dict[str, Any], open_webui: dict[str, Any]
) -> None:
    assert proxy["environment"]["WEBUI_SECRET_KEY"] == ""
    assert "env_file" not in open_webui
    assert not [name for name in open_webui["environment"] if name.startswith("DB_")]


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for name in ("PROXY_TOKEN", "DB_ENCRYPTION_KEY", "WEBUI_SECRET_KEY", "JWT_SECRET"):
        values = re.findall(rf"^\s+\w*{name}: (.*)$", text, re.MULTILINE)
        assert all(value == '""' or value.startswith("${") for value in values)


def test_every_name_set_for_the_proxy_is_a_setting(proxy: dict[str, Any]) -> None:
    known = {setting.attribute.upper() for setting in SETTINGS} | {"WEBUI_SECRET_KEY"}
    assert set(proxy["environment"]) <= known
