"""Uploads on their way: cut where they identify somebody, the same however they come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.multipart import Filter, boundary, filtered
from tests.gateway.conftest import pieces

B = b"XyZ"
TYPE = b"multipart/form-data; boundary=XyZ"
DATA = bytes(range(256)) + b"--XyZ \r\n--Xy\r\n-\r\r\n--xyz--\r\n--X"


def part(name: bytes, data: bytes, filename: bytes = b"") -> bytes:
    file = b'; filename="%b"\r\nContent-Type: audio/mpeg' % filename if filename else b""
    head = b'Content-Disposition: form-data; name="%b"%b' % (name, file)
    return b"--XyZ\r\n%b\r\n\r\n%b\r\n" % (head, data)


END = b"--XyZ--\r\n"
SENT = (
    part(b"model", b"whisper")
    + part(b"user", b"alice")
    + part(b"file", DATA, b"Alice Smith.mp3")
    + part(b"metadata[user_id]", DATA)
    + part(b"language", b"")
    + part(b"session_id", b"")
    + END
)
PASSED = (
    part(b"model", b"whisper") + part(b"file", DATA, b"file.mp3") + part(b"language", b"") + END
)


def in_pieces(body: bytes, cuts: list[int]) -> bytes:
    parts = Filter(TYPE)
    passed = b"".join([parts.feed(piece) for piece in pieces(body, cuts)])
    parts.end()
    return passed


def test_fields_go_files_are_renamed_and_all_else_stays() -> None:
    assert filtered(SENT, TYPE) == PASSED


def test_byte_by_byte_gives_the_same() -> None:
    assert in_pieces(SENT, list(range(len(SENT)))) == PASSED


@settings(max_examples=150)
@given(st.lists(st.integers(0, len(SENT)), max_size=8))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    assert in_pieces(SENT, cuts) == PASSED


tokens = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"--XyZ", b"--", b" ", b"x", b"--XyZ\r\n", b"\r\n--XyZ\r\n", END,
     part(b"user", b"a"), part(b"a", b"b"), b"\r\n\r\n",
     b'Content-Disposition: form-data; name="a"']
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(tokens, max_size=8), st.lists(st.integers(0, 300), max_size=6))
def test_any_split_of_anything_gives_the_same_verdict(tokens: list[bytes], cuts: list[int]) -> None:
    body = b"".join(tokens)
    verdicts: list[bytes | None] = []
    for places in ([], cuts, list(range(len(body)))):
        try:
            verdicts.append(in_pieces(body, places))
        except Refusal as refused:
            assert (refused.status, refused.code) == (400, "invalid_multipart")
            verdicts.append(None)
    assert len(set(verdicts)) == 1


@pytest.mark.parametrize(
    "body",
    [
        PASSED,
        PASSED.removesuffix(b"\r\n"),
        b"\r\n" + PASSED,
        PASSED + b" \r\n\r\n",
        b"--XyZ \t\r\n" + PASSED.removeprefix(b"--XyZ\r\n"),
        END,
    ],
)
def test_what_names_nobody_passes_as_it_came(body: bytes) -> None:
    assert filtered(body, TYPE) == body


def test_with_all_fields_gone_an_empty_form_is_left() -> None:
    assert filtered(part(b"user", b"a") + part(b"trace", b"b") + END, TYPE) == END


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"alice says\r\n" + PASSED,
        b"\r\n\r\n" + PASSED,
        PASSED + b"alice",
        PASSED + PASSED,
        PASSED.removesuffix(END),
        PASSED.removesuffix(END) + b"--XyZ",
        PASSED.removesuffix(END) + b"--XyZ-",
        b"--XyZa" + PASSED.removeprefix(b"--XyZ"),
        b"--XyZ\n" + PASSED.removeprefix(b"--XyZ\r\n"),
        b"--XyZ" + b" " * 65 + PASSED.removeprefix(b"--XyZ"),
        part(b"a", b"b\n--XyZ\nContent-Disposition: form-data; name=user\n\nalice") + END,
        part(b"a", b"b\r--XyZ\rx") + END,
        part(b"a", b"\r\n--XyZed\r\n") + END,
        b'--XyZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n--XyZ--\r\n',
        b"--XyZ\r\n\r\nno headers\r\n\r\n" + END,
        b"--XyZ\r\nX: " + b"x" * 17_000 + b"\r\n" + PASSED.removeprefix(b"--XyZ\r\n"),
        b"--XyZ\r\nX: " + b"x" * 17_000,
    ],
)
def test_what_is_no_proper_form_is_refused(body: bytes) -> None:
    for cuts in ([], list(range(len(body)))):
        with pytest.raises(Refusal) as caught:
            in_pieces(body, cuts)
        assert (caught.value.status, caught.value.code) == (400, "invalid_multipart")


def test_little_of_a_long_file_is_held() -> None:
    parts = Filter(TYPE)
    parts.feed(part(b"file", b"")[:-2])
    for _ in range(50):
        parts.feed(b"-" * 10_000)
        assert len(parts._buffer) < 100


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TYPE, B),
        (b'multipart/form-data; charset=utf-8; Boundary = "a b" ', b"a b"),
        (b"multipart/form-data;boundary=----WebKitForm7MA4YWxk;", b"----WebKitForm7MA4YWxk"),
    ],
)  # fmt: skip
def test_the_boundary_is_what_the_header_names(kind: bytes, expected: bytes) -> None:
    assert boundary(kind) == expected


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b'multipart/form-data; boundary="a',
        b'multipart/form-data; boundary="a\\b"',
        b'multipart/form-data; boundary="a "',
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=a; boundary*=utf-8''b",
        b"multipart/form-data; boundary*=utf-8''b",
        b"multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        b"multipart/form-data; boundary=" + b"a" * 71,
        b"multipart/form-data; boundary=a\xe4",
    ],
)
def test_a_boundary_in_doubt_is_refused(kind: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        Filter(kind)
    assert (caught.value.status, caught.value.code) == (400, "invalid_multipart")
