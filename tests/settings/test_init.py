"""The whole way from an environment to `Settings`; single kinds of values: test_parse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import LATER, SETTINGS, Settings, load

KEY = "0123456789abcdef" * 4
TOKEN = "a-token-of-some-length"


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[[Mapping[str, str]], Settings]:
    return lambda environ: load(environ, cwd=tmp_path, prefix=tmp_path)


@pytest.fixture
def problems_of(tmp_path: Path) -> Callable[[Mapping[str, str]], tuple[str, ...]]:
    def problems(environ: Mapping[str, str]) -> tuple[str, ...]:
        with pytest.raises(ConfigurationError) as caught:
            load(environ, cwd=tmp_path, prefix=tmp_path)
        return caught.value.problems

    return problems


LoadOf = Callable[[Mapping[str, str]], Settings]
ProblemsOf = Callable[[Mapping[str, str]], tuple[str, ...]]


def test_nothing_set_gives_the_documented_defaults(settings_of: LoadOf, tmp_path: Path) -> None:
    assert settings_of({}) == Settings(data_dir=tmp_path / "data")


def test_values_are_parsed(settings_of: LoadOf) -> None:
    settings = settings_of(
        {
            "PROXY_PORT": "0",
            "DB_ENCRYPTION_KEY": KEY.upper(),
            "PROXY_TOKEN": f"{TOKEN}, {TOKEN}2",
            "MAX_JSON_BYTES": "1MiB",
            "LOG_REQUESTS": "no",
            "HEAD_TIMEOUT": "2.5",
        }
    )
    assert settings.proxy_port == 0
    assert settings.db_encryption_key == Secret(KEY)
    assert settings.proxy_token == (Secret(TOKEN), Secret(TOKEN + "2"))
    assert settings.max_json_bytes == 1024 * 1024
    assert settings.log_requests is False
    assert settings.head_timeout == 2.5


def test_an_empty_value_counts_as_unset(settings_of: LoadOf, tmp_path: Path) -> None:
    names = {row.name for row in SETTINGS} - {"OPENWEBUI_JWT_SECRET"}
    assert settings_of(dict.fromkeys(names, "")) == Settings(data_dir=tmp_path / "data")


@pytest.mark.parametrize("name", ["OPENWEBUI_JWT_SECRET", "OPENWEBUI_JWT_SECRET_FILE"])
def test_an_empty_secret_does_not_switch_signatures_off(problems_of: ProblemsOf, name: str) -> None:
    (problem,) = problems_of({name: ""})
    assert problem.startswith("OPENWEBUI_JWT_SECRET: is empty")


def test_an_empty_secret_in_one_place_is_none_if_another_has_it(
    settings_of: LoadOf, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"OPENWEBUI_JWT_SECRET={KEY}\n")
    assert settings_of({"OPENWEBUI_JWT_SECRET": ""}).openwebui_jwt_secret == Secret(KEY)


def test_a_previous_secret_alone_is_refused(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of({"OPENWEBUI_JWT_SECRET_PREVIOUS": KEY})
    assert "set OPENWEBUI_JWT_SECRET too" in problem


def test_a_service_needs_its_key(settings_of: LoadOf, problems_of: ProblemsOf) -> None:
    (problem,) = problems_of({"ANONYMOUS_CALLS": "service"})
    assert "SERVICE_API_KEY" in problem
    settings = settings_of({"ANONYMOUS_CALLS": "service", "SERVICE_API_KEY": " sk-nano-1 "})
    assert settings.service_api_key == Secret("sk-nano-1")
    assert settings.service_routes == ("embeddings",)


def test_each_identity_header_has_a_name_of_its_own(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of({"FORWARD_USER_INFO_HEADER_USER_EMAIL": "x-openwebui-user-ID"})
    assert "two headers have one name" in problem


def test_every_problem_is_reported_at_once_with_its_mend(problems_of: ProblemsOf) -> None:
    problems = problems_of(
        {"PROXY_PORT": "port", "LOG_LEVEL": "loud", "PROXY_TOKEN": "short", "WORKERS": "2"}
    )
    assert len(problems) == 4
    text = "\n".join(problems)
    assert "PROXY_PORT: must be a whole number from 0 to 65535" in text
    assert "LOG_LEVEL: must be one of debug, info, warning, error" in text
    assert "PROXY_TOKEN: each token must have 16" in text
    assert "WORKERS: this release does not support WORKERS yet; remove it" in text


def test_no_message_and_no_repr_shows_a_value(settings_of: LoadOf, problems_of: ProblemsOf) -> None:
    wrong = {row.name: "\x00hunter2 \x00" for row in SETTINGS if row.name != "DATABASE_URL"}
    wrong |= {"DATABASE_URL": "postgresql://me:hunter2@db/x"}
    problems = problems_of(wrong)
    assert len(problems) == len(SETTINGS)
    assert "hunter2" not in str(problems)
    shown = repr(
        settings_of(
            {
                "DB_ENCRYPTION_KEY": KEY,
                "PROXY_TOKEN": TOKEN,
                "OPENWEBUI_JWT_SECRET": KEY[1:],
                "SERVICE_API_KEY": KEY[2:],
                "HTTPS_PROXY": "http://me:hunter2@proxy:3128",
            }
        )
    )
    assert not any(text in shown for text in (KEY[2:], TOKEN, "hunter2"))


@pytest.mark.parametrize("name", sorted(LATER))
def test_settings_of_later_releases_are_refused(problems_of: ProblemsOf, name: str) -> None:
    (problem,) = problems_of({name: "something"})
    assert problem == f"{name}: this release does not support {name} yet; remove it"


def test_one_worker_is_what_there_is(settings_of: LoadOf) -> None:
    settings_of({"WORKERS": "1", "VALKEY_URL": ""})


def test_a_later_setting_is_refused_from_a_file_too(
    problems_of: ProblemsOf, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("valkey://there\n")
    (problem,) = problems_of({"VALKEY_URL_FILE": "url"})
    assert "does not support VALKEY_URL" in problem
    (problem,) = problems_of({"VALKEY_URL_FILE": "nowhere"})
    assert "VALKEY_URL_FILE: its file cannot be read" in problem


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.com/api/v1", True),
        ("http://localhost:9/api/v1", True),
        ("http://127.8.8.8/api/v1", True),
        ("http://[::1]:9/api/v1", True),
        ("http://example.com/api/v1", False),
        ("http://10.0.0.1/api/v1", False),
        ("http://localhost.example.com", False),
    ],
)
def test_plain_http_is_for_this_machine_unless_allowed(
    settings_of: LoadOf, problems_of: ProblemsOf, url: str, allowed: bool
) -> None:
    if allowed:
        assert settings_of({"UPSTREAM_URL": url}).upstream_url == url
    else:
        (problem,) = problems_of({"UPSTREAM_URL": url})
        assert "UPSTREAM_ALLOW_HTTP=true" in problem
    assert settings_of({"UPSTREAM_URL": url, "UPSTREAM_ALLOW_HTTP": "true"}).upstream_url == url


def test_one_json_body_must_fit_into_the_buffer(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of({"MAX_JSON_BYTES": "2MiB", "MAX_BUFFERED_BYTES": "1MiB"})
    assert problem.startswith("MAX_BUFFERED_BYTES: must not be less than MAX_JSON_BYTES")


def test_the_previous_key_stands_beside_another_one(
    settings_of: LoadOf, problems_of: ProblemsOf
) -> None:
    other = KEY[::-1]
    both = settings_of({"DB_ENCRYPTION_KEY": KEY, "DB_ENCRYPTION_KEY_PREVIOUS": other})
    assert both.db_encryption_key_previous == Secret(other)
    (problem,) = problems_of({"DB_ENCRYPTION_KEY_PREVIOUS": other})
    assert "set DB_ENCRYPTION_KEY to the new key too" in problem
    (problem,) = problems_of({"DB_ENCRYPTION_KEY": KEY, "DB_ENCRYPTION_KEY_PREVIOUS": KEY})
    assert "is the same key" in problem


def test_data_dir_counts_from_where_it_was_written(tmp_path: Path) -> None:
    cwd, checkout = tmp_path / "cwd", tmp_path / "checkout"
    prefix = checkout / ".venv"
    for folder in (cwd, prefix):
        folder.mkdir(parents=True)
    assert load({}, cwd=cwd, prefix=prefix).data_dir == cwd / "data"
    (checkout / "pyproject.toml").touch()
    assert load({}, cwd=cwd, prefix=prefix).data_dir == checkout / "data"
    (checkout / ".env").write_text("DATA_DIR=kept\n")
    assert load({}, cwd=cwd, prefix=prefix).data_dir == checkout / "kept"
    assert load({"DATA_DIR": "mine"}, cwd=cwd, prefix=prefix).data_dir == cwd / "mine"
    assert load({"DATA_DIR": "/x"}, cwd=cwd, prefix=prefix).data_dir == Path("/x")


def test_data_dir_may_be_absent_but_not_a_file(problems_of: ProblemsOf, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    (problem,) = problems_of({})
    assert problem.startswith("DATA_DIR: there is something that is no directory")


def test_the_certificate_file_is_looked_at_when_settings_are_read(
    settings_of: LoadOf, problems_of: ProblemsOf, tmp_path: Path
) -> None:
    (problem,) = problems_of({"UPSTREAM_CA_FILE": "ca.pem"})
    assert problem.startswith("UPSTREAM_CA_FILE: its file cannot be read")
    (tmp_path / "ca.pem").write_text("nothing")
    (problem,) = problems_of({"UPSTREAM_CA_FILE": "ca.pem"})
    assert "holds no certificate" in problem
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert settings_of({"UPSTREAM_CA_FILE": "ca.pem"}).upstream_ca_file == tmp_path / "ca.pem"


def test_the_proxy_settings_have_a_lower_case_spelling(settings_of: LoadOf) -> None:
    settings = settings_of({"https_proxy": "http://proxy:3128", "no_proxy": "localhost"})
    assert settings.https_proxy == Secret("http://proxy:3128")
    assert settings.no_proxy == "localhost"


def test_the_process_environment_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXY_PORT", "3999")
    assert load(prefix=tmp_path).proxy_port == 3999
