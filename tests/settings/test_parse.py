from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import SETTINGS, Setting, parse

KEY = "0123456789abcdef" * 4
WORD = "sixteen-letters!"

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (parse.text, " a b ", "a b"),
    (parse.host, "::1", "::1"),
    (parse.host, " proxy.local ", "proxy.local"),
    (parse.whole(0, 65535), " 65535 ", 65535),
    (parse.size, "1", 1),
    (parse.size, "3KiB", 3072),
    (parse.size, "3 MiB", 3 * 1024**2),
    (parse.size, "3GiB", 3 * 1024**3),
    (parse.seconds, "0.5", 0.5),
    (parse.seconds, "31536000", 31536000.0),
    (parse.seconds_or_none, "0", 0.0),
    (parse.yes_no, "True", True),
    (parse.yes_no, "0", False),
    (parse.choice("text", "json"), "JSON", "json"),
    (parse.path, "a/b", Path("a/b")),
    (parse.master_key, f" {KEY.upper()}\n", Secret(KEY)),
    (parse.tokens, "", ()),
    (parse.tokens, WORD, (Secret(WORD),)),
    (parse.tokens, f"{WORD} ,{WORD}2,{WORD}", (Secret(WORD), Secret(WORD + "2"))),
    (parse.database_url, "sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
    (parse.upstream_url, "https://Example.COM/Api/v1/", "https://example.com/Api/v1"),
    (parse.upstream_url, "HTTP://[::1]:8080", "http://[::1]:8080"),
    (parse.proxy_url, "http://proxy:3128/", Secret("http://proxy:3128")),
    (parse.proxy_url, "http://me:pw@proxy:3128", Secret("http://me:pw@proxy:3128")),
]

BAD: list[tuple[Callable[[str], object], str, str]] = [
    (parse.text, "a\x1bb", "control characters"),
    (parse.host, "a b", "an IP address or a host name"),
    (parse.host, "http://x", "an IP address or a host name"),
    (parse.whole(0, 65535), "65536", "from 0 to 65535"),
    (parse.whole(1, 9), "0", "from 1 to 9"),
    (parse.whole(0, 9), "-1", "whole number"),
    (parse.whole(0, 9), "²", "whole number"),
    (parse.size, "0", "above 0"),
    (parse.size, "1.5MiB", "such as 33554432 or 32MiB"),
    (parse.size, "32MB", "such as 33554432 or 32MiB"),
    (parse.seconds, "0", "above 0"),
    (parse.seconds, "nan", "above 0"),
    (parse.seconds, "inf", "a year"),
    (parse.seconds, "10s", "number of seconds"),
    (parse.seconds_or_none, "-1", "from 0 to a year"),
    (parse.seconds_or_none, "-inf", "from 0 to a year"),
    (parse.yes_no, "maybe", "true or false"),
    (parse.choice("text", "json"), "xml", "one of text, json"),
    (parse.path, "a\0b", "a path"),
    (parse.master_key, KEY[:-1], "64 hex digits"),
    (parse.master_key, "an-old-password", "nanogpt-proxy import"),
    (parse.master_key, "a" * 64, "one digit repeated"),
    (parse.tokens, "x" * 15, "16 to 512"),
    (parse.tokens, "x" * 513, "16 to 512"),
    (parse.tokens, WORD + ",", "16 to 512"),
    (parse.tokens, ",", "16 to 512"),
    (parse.tokens, "with a blank inside it", "no blanks"),
    (parse.tokens, "with-an-umlaut-ä-inside", "printable ASCII"),
    (parse.database_url, "postgresql://db/x", "not in this release"),
    (parse.database_url, "sqlite:///relative.db", "four slashes"),
    (parse.database_url, "sqlite://", "four slashes"),
    (parse.database_url, "sqlite:////", "four slashes"),
    (parse.database_url, "sqlite:////x.db?mode=ro", "four slashes"),
    (parse.upstream_url, "api.nano-gpt.com/api/v1", "must be a URL"),
    (parse.upstream_url, "ftp://example.com", "must be a URL"),
    (parse.upstream_url, "https://", "must be a URL"),
    (parse.upstream_url, "https://x:99999/", "must be a URL"),
    (parse.upstream_url, "https://x:0/", "must be a URL"),
    (parse.upstream_url, "https://[::1/", "must be a URL"),
    (parse.upstream_url, "https://x/a b", "must be a URL"),
    (parse.upstream_url, "https://x\\@y/", "must be a URL"),
    (parse.upstream_url, "https://me:pw@example.com/", "user name or password"),
    (parse.upstream_url, "https://example.com/?a=b", "the ? or #"),
    (parse.upstream_url, "https://example.com/#", "the ? or #"),
    (parse.proxy_url, "proxy:3128", "http://host:port"),
    (parse.proxy_url, "https://proxy:3128", "http://host:port"),
    (parse.proxy_url, "socks5://proxy:1080", "http://host:port"),
    (parse.proxy_url, "http://proxy", "http://host:port"),
    (parse.proxy_url, "http://proxy:3128/path", "http://host:port"),
    (parse.proxy_url, "http://proxy:3128?x", "%3F"),
]


@pytest.mark.parametrize(("parser", "text", "value"), GOOD)
def test_good_values(parser: Callable[[str], object], text: str, value: object) -> None:
    assert parser(text) == value


@pytest.mark.parametrize(("parser", "text", "mend"), BAD)
def test_bad_values_are_refused_with_the_mend(
    parser: Callable[[str], object], text: str, mend: str
) -> None:
    with pytest.raises(parse.Unusable) as caught:
        parser(text)
    assert mend in str(caught.value)


@given(text=st.text(min_size=1), row=st.sampled_from(SETTINGS))
def test_any_text_gives_a_value_or_a_mend(text: str, row: Setting) -> None:
    try:
        row.parse(text)
    except parse.Unusable:
        pass


def test_certificates_and_folders_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "file"
    parse.folder(tmp_path)
    parse.folder(file)
    with pytest.raises(parse.Unusable, match="cannot be read"):
        parse.certificates(file)
    file.write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(parse.Unusable, match="holds no certificate"):
        parse.certificates(file)
    with pytest.raises(parse.Unusable, match="no directory"):
        parse.folder(file)
    file.write_text("-----BEGIN CERTIFICATE-----")
    parse.certificates(file)


@pytest.mark.parametrize(
    "raw", ["", " " * 40, "x" * 31, "x" * 40 + " ", "\t" + "x" * 40, "x" * 40 + "\n", "ä" * 15]
)
def test_a_weak_jwt_secret_is_refused(raw: str) -> None:
    with pytest.raises(parse.Unusable):
        parse.jwt_secret(raw)


@pytest.mark.parametrize("raw", ["x" * 32, "ä" * 16, "two words of a phrase that is long enough"])
def test_a_jwt_secret_stays_as_it_is(raw: str) -> None:
    assert parse.jwt_secret(raw).reveal() == raw


@pytest.mark.parametrize("raw", ["", "X_User", "Host", "authorization", "x user", "é", "X-A:", "-"])
def test_what_is_no_name_for_an_identity_header_is_refused(raw: str) -> None:
    with pytest.raises(parse.Unusable):
        parse.header_name(raw)


def test_roles_are_names_but_never_pending() -> None:
    assert parse.roles("Admin, user,user") == ("admin", "user")
    for raw in ("", ",", "user,", "pending", "user, Pending", "a b"):
        with pytest.raises(parse.Unusable):
            parse.roles(raw)


def test_routes_are_some_of_those_that_cost_money() -> None:
    assert parse.routes("embeddings, audio/speech") == ("embeddings", "audio/speech")
    for raw in ("", "models", "embeddings,", "/v1/embeddings"):
        with pytest.raises(parse.Unusable):
            parse.routes(raw)
