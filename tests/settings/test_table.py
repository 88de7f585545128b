from __future__ import annotations

from dataclasses import fields

import pytest

from nanogpt_proxy.settings import SETTINGS, Setting, Settings


def test_the_table_and_the_dataclass_are_one() -> None:
    assert [row.attribute for row in SETTINGS] == [item.name for item in fields(Settings)]
    assert all(getattr(Settings(), row.attribute) == row.default for row in SETTINGS)


def test_no_name_is_the_twin_of_another() -> None:
    names = {row.name for row in SETTINGS}
    assert not names & {f"{name}_FILE" for name in names}


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_each_row_explains_itself(row: Setting) -> None:
    help = row.help
    assert help.endswith(".")
    assert "|" not in help, "it would break the table of the documentation"


def test_secrets_are_marked() -> None:
    secret = {row.name for row in SETTINGS if row.secret}
    assert secret == {
        "DB_ENCRYPTION_KEY",
        "PROXY_TOKEN",
        "OPENWEBUI_JWT_SECRET",
        "OPENWEBUI_JWT_SECRET_PREVIOUS",
        "SERVICE_API_KEY",
        "DB_ENCRYPTION_KEY_PREVIOUS",
        "OLD_DB_ENCRYPTION_KEY",
        "HTTPS_PROXY",
    }
