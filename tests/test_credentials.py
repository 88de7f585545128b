"""Where the connection token comes from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nanogpt_proxy.credentials import FILE_NAME, connection_tokens
from nanogpt_proxy.errors import ConfigurationError
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import Settings, load


def settings(data: Path, **environ: str) -> Settings:
    return load({"DATA_DIR": str(data), **environ}, cwd=data.parent, prefix=data)


def test_a_missing_token_is_made_once_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (token,) = connection_tokens(settings(data))
    assert token.reveal().startswith("npt-")
    assert len(token.reveal()) == 47
    assert stat.S_IMODE((data / FILE_NAME).stat().st_mode) == 0o600
    assert connection_tokens(settings(data)) == (token,)


def test_given_tokens_win_and_leave_no_file(tmp_path: Path) -> None:
    given = settings(tmp_path / "data", PROXY_TOKEN="first-token-0123456,second-token-012345")
    assert connection_tokens(given) == (
        Secret("first-token-0123456"),
        Secret("second-token-012345"),
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["", "short", "with blanks in between", "é" * 20])
def test_a_damaged_token_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ConfigurationError, match=FILE_NAME) as caught:
        connection_tokens(settings(tmp_path))
    assert text == "" or text not in str(caught.value)


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        connection_tokens(settings(tmp_path))
