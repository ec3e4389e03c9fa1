"""SMTP replies and what they mean."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.delivery import ErrorClass
from infrastructure.providers.smtp_replies import Stage, classify

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "smtp_classification.json").read_text())["cases"]
STAGES: tuple[Stage, ...] = ("connect", "banner", "ehlo", "starttls", "auth", "mail_from", "rcpt_to", "data")


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: f"{case['stage']}: {case['text']}")
def test_replies_are_classified_as_the_contract_says(case: dict[str, Any]) -> None:
    found = classify(case["stage"], case["code"], case["text"])
    assert case["expect"] == {
        "outcome": found.outcome,
        "bounce_class": found.bounce_class,
        "reason": found.reason,
        "enhanced_status": found.enhanced_status,
        "add_to_suppression": found.add_to_suppression,
    }


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: f"{case['stage']}: {case['text']}")
def test_the_code_may_have_been_taken_off_the_text(case: dict[str, Any]) -> None:
    if case["code"] is not None:
        text = case["text"].removeprefix(f"{case['code']} ")
        assert classify(case["stage"], case["code"], text) == classify(case["stage"], case["code"], case["text"])


@pytest.mark.parametrize(
    ("stage", "code", "text", "outcome", "bounce_class", "reason"),
    [
        ("rcpt_to", 550, "5.0.0 rejected", "permanent", "undetermined", None),
        ("rcpt_to", 550, "5.1.0 Address rejected. user unknown", "permanent", "hard", "invalid_address"),
        ("rcpt_to", 554, "no such user", "permanent", "undetermined", None),
        ("rcpt_to", 552, "exceeded storage allocation", "permanent", "soft", None),
        ("rcpt_to", 552, "too many recipients", "transient", None, "too_many_recipients"),
        ("rcpt_to", 550, "5.5.3 too many recipients", "transient", None, "too_many_recipients"),
        ("rcpt_to", 550, "5.4.1 Recipient address rejected: Access denied", "permanent", "soft", "routing"),
        ("rcpt_to", 550, "5.7.26 Unauthenticated: SPF and DKIM failed", "permanent", "soft", "authentication"),
        ("rcpt_to", 550, "4.2.2 mailbox full", "permanent", "soft", "mailbox_full"),
        ("rcpt_to", 450, "5.1.1 try again", "transient", None, None),
        ("rcpt_to", 553, "sorry, that domain isn't in my list of allowed rcpthosts", "config", None, "relay_denied"),
        ("rcpt_to", 550, "5.1.8 Sender address rejected: Domain not found", "config", None, "sender"),
        ("rcpt_to", 530, "5.7.0 Authentication required", "config", None, "auth"),
        ("rcpt_to", 421, "4.7.0 Greylisted, come back", "transient", None, "greylisted"),
        ("rcpt_to", 421, "4.7.0 too many connections from your host", "rate_limited", None, None),
        ("banner", 421, "4.7.0 too many connections from your host", "rate_limited", None, None),
        ("banner", 421, "4.3.2 service shutting down", "transient", None, None),
        ("mail_from", 501, "5.5.4 Syntax error in parameters", "permanent", None, "protocol"),
        ("mail_from", 550, "5.7.1 blocked by spamhaus", "config", None, "sender"),
        ("data", 550, "user unknown", "permanent", "undetermined", None),
        ("data", 552, "Message exceeds maximum size", "permanent", "soft", "too_large"),
        ("data", 451, "4.3.0 queue file write error", "transient", None, "system"),
        ("connect", None, "builtins.ConnectionRefusedError", "transient", None, "connection"),
    ],
)
def test_further_rules(
    stage: Stage, code: int | None, text: str, outcome: str, bounce_class: str | None, reason: str | None
) -> None:
    found = classify(stage, code, text)
    assert (found.outcome, found.bounce_class, found.reason) == (outcome, bounce_class, reason)


replies = st.tuples(st.sampled_from(STAGES), st.integers(200, 599), st.text(max_size=80))


@given(replies)
def test_an_address_is_given_up_only_when_it_bounced_hard_after_a_5yz(reply: tuple[Stage, int, str]) -> None:
    found = classify(*reply)
    if found.add_to_suppression:
        assert found.bounce_class == "hard"
        assert reply[1] >= 500
        assert reply[0] in ("rcpt_to", "data")


@given(replies)
def test_the_basic_code_decides_whether_it_is_over(reply: tuple[Stage, int, str]) -> None:
    _, code, _ = reply
    outcome = classify(*reply).outcome
    if code < 400:
        assert outcome in ("accepted", "continue")
    elif code < 500:
        assert outcome in (ErrorClass.TRANSIENT, ErrorClass.RATE_LIMITED, ErrorClass.QUOTA)
    else:
        assert outcome in (ErrorClass.PERMANENT, ErrorClass.CONFIG, ErrorClass.TRANSIENT)


@given(st.sampled_from(STAGES[:6]), st.integers(400, 599), st.text(max_size=80))
def test_nothing_before_rcpt_is_any_recipients_fault(stage: Stage, code: int, text: str) -> None:
    assert classify(stage, code, text).bounce_class is None


@pytest.mark.parametrize("local", ["quota", "spam-reports", "dkim", "blocked", "user.unknown"])
def test_the_address_a_server_quotes_is_not_its_reason(local: str) -> None:
    known = classify("rcpt_to", 550, f"550 5.0.0 <{local}@example.test>: Recipient address rejected: User unknown")
    assert (known.bounce_class, known.add_to_suppression) == ("hard", True)
    policy = classify("rcpt_to", 550, f"550 5.0.0 <{local}@example.test>: blocked by our policy")
    assert policy.bounce_class == "soft"
