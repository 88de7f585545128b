"""One part's headers: whose field it is, and a neutral name for its file."""

from __future__ import annotations

import pytest

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway.members import IDENTITY
from nanogpt_proxy.gateway.part_head import neutral

FORM = b"Content-Disposition: form-data; "


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_fields_of_those_names_are_dropped(name: str) -> None:
    for spelling in (
        f'name="{name}"',
        f"name={name}",
        f'NAME = "{name}"',
        f'name="{name}[user_id]"',
        f'name="{name}.id"',
        f'name="%{ord(name[0]):02x}{name[1:]}"',
        f'name=" {name} "',
        f"name='{name}'",
        f'filename="a.mp3"; name="{name}"',
        f'name="{name}"; filename="a.mp3";',
    ):
        head = FORM + spelling.encode()
        assert neutral(head) is None, spelling
        assert neutral(b"X-A: 1\r\n" + head.replace(b"form-data", b"FORM-Data")) is None


@pytest.mark.parametrize("name", [b"model", b"users", b"User", b"my user", b"file", b"a.user"])
def test_other_fields_pass_as_they_are(name: bytes) -> None:
    head = b"X-A:  b \r\n" + FORM + b'name="%b" ;size=3\r\nContent-Type: text/plain' % name
    assert neutral(head) == head


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'filename="Alice Smith.mp3"', b'filename="file.mp3"'),
        (b"filename=alice.MP3", b'filename="file.MP3"'),
        (b'filename="alice"', b'filename="file"'),
        (b'filename="alice.smith-private"', b'filename="file"'),
        (b'filename="a.tar.gz"', b'filename="file.gz"'),
        (b'filename="C:\\Users\\alice\\a.png"', b'filename="file.png"'),
        (b'filename="a\\"; name=\\"b.png"', b'filename="file.png"'),
        ('filename="日記.wav"'.encode(), b'filename="file.wav"'),
        (b"filename*=UTF-8''alice%20smith.mp3", b"filename*=UTF-8''file.mp3"),
        (
            b"filename*=utf-8'en'alice.m4a; filename=\"alice.m4a\"",
            b"filename*=UTF-8''file.m4a; filename=\"file.m4a\"",
        ),
        (b'filename=""', b'filename=""'),
        (b"filename=", b"filename="),
    ],
)
def test_files_get_neutral_names(before: bytes, after: bytes) -> None:
    head = FORM + b'name="file"; %b'
    assert neutral(head % before) == head % after
    head = FORM + b'%b ;  name="file"'
    assert neutral(head % before) == head % after


def test_a_name_in_the_content_type_is_a_files_name_too() -> None:
    head = FORM + b'name="file"\r\nContent-Type: audio/mpeg; name="%b.mp3"; x=y'
    assert neutral(head % b"Alice") == head % b"file"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Type: text/plain",
        b"no header",
        b" " + FORM + b'name="a"',
        FORM.rstrip(b"; "),
        FORM + b'filename="a.mp3"',
        FORM + b'name="a"; name="user"',
        FORM + b'name="a"; NAME="user"',
        FORM + b"name=\"a\"; name*=utf-8''user",
        FORM + b"name*=utf-8''user",
        FORM + b'name*0="us"; name*1="er"',
        FORM + b'name="us\\er"',
        FORM + b'name="=?utf-8?b?dXNlcg==?="',
        FORM + b'name="us\ter"',
        FORM + b'name="a" user',
        FORM + b'name="a',
        FORM + b'name="a"x="b"',
        FORM + b'name="a"; filename="x"y.mp3"',
        FORM + b'name="a"\r\n name="user"',
        FORM + b'name="a"\nX: y',
        FORM + b'name="a"\rX: y',
        FORM + b'name="a\0"',
        FORM + b'name="a"\r\n' + FORM + b'name="b"',
        FORM + b'name="a"\r\nContent-Type: Multipart/mixed; boundary=c',
        b'Content-Disposition: attachment; name="a"',
        b'Content-Disposition : form-data; name="a"',
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        neutral(head)
    assert (caught.value.status, caught.value.code) == (400, "invalid_multipart")
