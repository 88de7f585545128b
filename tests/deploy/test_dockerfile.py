"""What the image promises; the Dockerfile is read, nothing is built."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Name and argument of each instruction, in order."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    code = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", code)
    pairs = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, argument.strip()) for name, _, argument in pairs]


@pytest.fixture(scope="module")
def runtime(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    last = max(at for at, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last:]


def only(runtime: list[tuple[str, str]], wanted: str) -> str:
    (argument,) = [argument for name, argument in runtime if name == wanted]
    return argument


def test_both_stages_stand_on_a_base_that_can_be_chosen(
    instructions: list[tuple[str, str]],
) -> None:
    assert instructions[0] == ("ARG", "BASE=python:3.13-slim")
    stages = [argument for name, argument in instructions if name == "FROM"]
    assert stages == ["${BASE} AS build", "${BASE}"]


def test_everything_installed_is_locked_by_hash(instructions: list[tuple[str, str]]) -> None:
    commands = [argument for name, argument in instructions if name == "RUN"]
    installs = [part for command in commands for part in command.split("&&") if "bin/pip " in part]
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install


def test_the_user_is_a_number_and_not_root(runtime: list[tuple[str, str]]) -> None:
    uid, gid = only(runtime, "USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert runtime.index(("USER", f"{uid}:{gid}")) < runtime.index(("VOLUME", "/data"))


def test_data_is_the_one_place_to_write(runtime: list[tuple[str, str]]) -> None:
    environment = only(runtime, "ENV")
    assert only(runtime, "VOLUME") == "/data"
    assert "DATA_DIR=/data" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment


def test_it_serves_by_default_and_other_commands_work_too(runtime: list[tuple[str, str]]) -> None:
    assert json.loads(only(runtime, "ENTRYPOINT")) == ["nanogpt-proxy"]
    assert json.loads(only(runtime, "CMD")) == ["serve"]
    assert "PROXY_HOST=0.0.0.0" in only(runtime, "ENV")
    assert only(runtime, "EXPOSE") == "3000"
    assert only(runtime, "STOPSIGNAL") == "SIGTERM"


def test_image_and_compose_ask_for_health_alike(runtime: list[tuple[str, str]]) -> None:
    options, _, command = only(runtime, "HEALTHCHECK").partition("CMD ")
    assert json.loads(command) == ["nanogpt-proxy", "healthcheck"]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    health = compose["services"]["proxy"]["healthcheck"]
    assert health["test"] == ["CMD", *json.loads(command)]
    for option in options.split():
        name, _, value = option.removeprefix("--").partition("=")
        assert str(health[name.replace("-", "_")]) == value


def test_the_build_sees_only_what_it_needs(instructions: list[tuple[str, str]]) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for name, argument in instructions
        if name == "COPY" and not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    assert "*" in lines
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
