"""The proof itself: it holds for the real gateway, and fails for one that leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanogpt_proxy.gateway import border, headers, multipart
from nanogpt_proxy.gateway.members import IDENTITY
from nanogpt_proxy.gateway.routes import served
from nanogpt_proxy.models import Secret
from nanogpt_proxy.settings import Settings
from nanogpt_proxy.verification import Finding, Verdict, verify


def verified(**changed: Any) -> tuple[Verdict, list[Finding]]:
    findings: list[Finding] = []
    return verify(replace(Settings(), **changed), findings.append), findings


def test_no_planted_word_leaves_the_house(tmp_path: Path) -> None:
    verdict, findings = verified(data_dir=tmp_path)
    assert [fault for finding in findings for fault in finding.faults] == []
    assert (verdict.faults, verdict.calls) == (0, len(findings))
    assert verdict.canaries > 1000
    gone_up = [finding for finding in findings if finding.sent]
    assert len(gone_up) > 200
    assert not any(b"sk-nano" in each.raw for finding in findings for each in finding.sent)
    for _, path, _ in served():
        assert any(path in finding.what for finding in gone_up)
    assert list(tmp_path.iterdir()) == [], "the operator's own data is not touched"


def test_it_holds_with_tags_and_narrow_limits() -> None:
    verdict, findings = verified(user_tag="hmac", max_json_bytes=20_000)
    assert verdict.faults == 0
    assert b'"user":"' in findings[0].sent[0].body


def test_it_holds_with_signed_users_and_a_change_of_keys() -> None:
    verdict, _ = verified(
        openwebui_jwt_secret=Secret("s" * 32),
        forward_user_info_header_user_email="X-Mail",
        db_encryption_key=Secret("1" * 64),
        db_encryption_key_previous=Secret("2" * 64),
        anonymous_calls="service",
        service_api_key=Secret("sk-nano-service"),
    )
    assert verdict.faults == 0


def test_a_member_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "redact", lambda body, tag: body)
    verdict, findings = verified()
    assert verdict.faults > 1000
    faults = {fault for finding in findings for fault in finding.faults}
    for name in IDENTITY:
        assert f"left the house: {name} (JSON, all letters escaped)" in faults


def test_a_form_field_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "neutral", lambda head: head)
    faults = {fault for finding in verified()[1] for fault in finding.faults}
    for name in [*IDENTITY, "filename", "filename*"]:
        assert f"left the house: {name} (form, quoted, long)" in faults


def test_a_header_that_goes_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = headers.upward
    monkeypatch.setattr(
        headers,
        "upward",
        lambda fields, key: honest(fields, key) + b"x-email: %b\r\n" % fields[headers.EMAIL],
    )
    verdict, findings = verified()
    assert verdict.faults > 200
    assert "left the house: e-mail" in findings[0].faults


def test_what_does_not_arrive_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "redact", lambda body, tag: b"{}")
    faults = [fault for finding in verified()[1] for fault in finding.faults]
    assert any("words did not go up" in fault for fault in faults)
    assert any(
        "the call did not go up" in fault for fault in verified(max_json_bytes=50)[1][0].faults
    )
