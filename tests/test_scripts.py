"""The scripts behind `make`, run on copies of themselves in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogpt_proxy.settings import load

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs a script with nothing but `bin` and what every system has on its path."""

    def call(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = f"{folder / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return subprocess.run(
            [folder / "scripts" / script, *arguments],
            env={"PATH": path, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_env_writes_secrets_that_the_settings_accept(folder: Path, run: Run) -> None:
    assert run("env").returncode == 0
    file = folder / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = load({}, cwd=folder, prefix=folder)
    assert settings.db_encryption_key and len(settings.proxy_token) == 1
    assert settings.openwebui_jwt_secret
    values = re.findall(r"^[A-Z_]+=(.+)$", file.read_text(), re.M)
    assert len(set(values)) == 4
    assert min(map(len, values)) >= 64


def test_env_never_replaces_a_file(folder: Path, run: Run) -> None:
    (folder / ".env").write_text("mine")
    done = run("env")
    assert done.returncode == 1
    assert ".env is there already" in done.stderr
    assert (folder / ".env").read_text() == "mine"


def test_env_keeps_the_secrets_of_an_earlier_start(folder: Path, run: Run) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "encryption.key").write_text("0123456789abcdef" * 4 + "\n")
    (folder / "data" / "proxy.token").write_text("npt-kept-token-kept-token\n")
    run("env")
    text = (folder / ".env").read_text()
    assert f"\nDB_ENCRYPTION_KEY={'0123456789abcdef' * 4}\n" in text
    assert "\nPROXY_TOKEN=npt-kept-token-kept-token\n" in text


def test_what_is_missing_is_named_with_the_line_to_run(folder: Path, run: Run) -> None:
    needs = folder / "scripts" / "needs"
    needs.write_text(
        needs.read_text().replace("command -v nginx", "false").replace("/usr/sbin", "/")
    )
    _program(folder / "bin", "id", "echo 1000")
    _program(folder / "bin", "apt-get", "exit 1")
    done = run("needs", "nginx")
    assert done.returncode == 1
    assert done.stderr == "needs: nginx is missing; run\n    sudo apt-get install nginx\n"
    assert run("needs", "--quiet", "nginx").returncode == 0


def test_root_on_debian_has_it_installed(folder: Path, run: Run) -> None:
    needs = folder / "scripts" / "needs"
    needs.write_text(
        needs.read_text().replace("command -v nginx", "false").replace("/usr/sbin", "/")
    )
    _program(folder / "bin", "id", "echo 0")
    _program(folder / "bin", "apt-get", f'echo "$@" >> {folder}/apt')
    assert run("needs", "nginx").returncode == 0
    update, install = (folder / "apt").read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install") and install.endswith(" nginx")


def test_a_group_left_out_is_said_in_the_last_line(folder: Path, run: Run) -> None:
    _program(folder / ".venv" / "bin", "pytest", 'echo "pytest $*"')
    whole = run("test", "-q")
    assert (whole.returncode, whole.stdout) == (0, "pytest -q\n")
    part = run("test", "-q", TEST_WITHOUT="nginx")
    assert part.returncode == 0
    assert part.stdout.splitlines() == [
        "pytest -m not needs_nginx -q",
        "test: NOT complete, left out by TEST_WITHOUT: nginx",
    ]


def test_a_failure_is_one_with_a_group_left_out_too(folder: Path, run: Run) -> None:
    _program(folder / ".venv" / "bin", "pytest", "exit 1")
    assert run("test").returncode == 1
    assert run("test", TEST_WITHOUT="nginx").returncode == 1


def test_tests_do_not_run_without_what_they_need(folder: Path, run: Run) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_x.py").write_text("pytestmark = pytest.mark.needs_nginx")
    _program(folder / ".venv" / "bin", "pytest", "echo pytest ran")
    _program(folder / "scripts", "needs", 'echo "needs $*"; exit 1')
    done = run("test")
    assert (done.returncode, done.stdout) == (1, "needs nginx\n")
    assert "make test TEST_WITHOUT=nginx" in done.stderr


def test_an_unknown_group_is_refused(run: Run) -> None:
    done = run("test", TEST_WITHOUT="nginx,moon")
    assert done.returncode == 2
    assert "TEST_WITHOUT=moon is no group; there is: nginx" in done.stderr


def test_an_old_python_is_refused_with_the_mend(folder: Path, run: Run) -> None:
    for name in ("python", *(f"python3{minor}" for minor in ("", ".11", ".12", ".13", ".14"))):
        _program(folder / "bin", name, "exit 1")
    done = run("install")
    assert done.returncode == 1
    assert "no Python 3.11 or newer found" in done.stderr
    assert "make install PYTHON=/path/to/python3" in done.stderr
    done = run("install", PYTHON="python3")
    assert done.stderr == "install: PYTHON=python3 is no Python 3.11 or newer\n"


def test_locked_requirements_have_hashes_and_no_addresses() -> None:
    for name in ("requirements.txt", "requirements-build.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text and "--index-url" not in text and "file:" not in text
        pinned = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n    --hash=sha256:", text, re.M)
        assert pinned and len(pinned) == len(re.findall(r"^[a-z]", text, re.M))


def test_locked_requirements_agree_with_each_other() -> None:
    def versions(name: str) -> set[tuple[str, str]]:
        text = (ROOT / name).read_text("utf-8")
        return set(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))

    everything = versions("requirements-dev.txt")
    assert versions("requirements.txt") <= everything
    assert versions("requirements-build.txt") <= everything
