"""The bodies are what they claim to be, or nothing would be proved."""

from __future__ import annotations

import email.policy
import json
from email.parser import BytesParser

from nanogpt_proxy.verification.bodies import FORM, MARK, NAMES, forms, json_bodies
from nanogpt_proxy.verification.canaries import Canaries


def test_each_json_body_has_every_name_with_a_word_of_its_own() -> None:
    canaries = Canaries()
    seen: set[str] = set()
    for what, body in json_bodies(canaries, 1000):
        assert what not in seen
        seen.add(what)
        members = json.loads(body, object_pairs_hook=list)
        names = [name for name, _ in members]
        assert set(NAMES) <= set(names), what
        assert MARK in str(members)
        assert len(canaries.found(body)) >= len(NAMES)
    assert len(body) > 1000
    assert len(seen) >= 14


def test_each_form_can_be_read_and_has_every_name() -> None:
    canaries = Canaries()
    for what, body in forms(canaries, 1000):
        message = BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + FORM + b"\r\n\r\n" + body
        )
        parts = list(message.iter_parts())
        assert len(parts) == len(NAMES) + 3, what
        assert len(canaries.found(body)) == len(NAMES) + 2
        assert MARK.encode() in body
        assert ("long" in what) is (len(body) > 1900)
