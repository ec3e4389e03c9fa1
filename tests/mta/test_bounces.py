"""Bounces as Postfix writes them reach the recipients they are about, and mean what they say.

What stands after the + makes an address nobody else's: once it is on the suppression list, nothing is sent to it.
"""

import smtplib
from uuid import UUID

from infrastructure.providers import verp
from tests.mta.postfix import Postfix
from tests.mta.sending import VERP_KEY, Sending
from tests.service import until

DEFERRED = "email.recipient_deferred"


def test_each_recipient_of_an_email_bounces_alone(postfix: Postfix, service: Sending) -> None:
    expected = {
        "gone+alone@away.test": ("hard", "invalid_address", 550, "5.1.1", True),
        "jörg+alone@away.test": ("hard", "invalid_address", 550, "5.1.1", True),  # the report is in UTF-8: RFC 6533
        "full+alone@away.test": ("soft", "mailbox_full", 552, "5.2.2", False),
        "closed+alone@away.test": ("soft", "policy", 554, "5.7.1", False),
        "forwarded@example.test": ("hard", "invalid_address", None, "5.1.1", False),  # an address behind it is to blame
    }
    email = service.send("ada@example.test", *expected)
    until(lambda: len(service.reports(email)) == len(expected))
    reports = service.reports(email)
    fields = ("bounce_class", "reason", "smtp_status", "enhanced_status", "add_to_suppression")
    assert {address: tuple(said[field] for field in fields) for address, said in reports.items()} == expected
    assert "No such user here" in reports["gone+alone@away.test"]["words"]
    assert service.recipients(email) == {"ada@example.test": "sent"} | dict.fromkeys(expected, "bounced")
    assert len(_notices(postfix, "bounces", email)) == len(expected)  # that it was delivered, nobody asked to be told


def test_an_address_that_does_not_exist_is_suppressed(service: Sending) -> None:
    email = service.send("gone+for-good@away.test", "full+for-now@away.test")
    until(lambda: len(service.reports(email)) == 2)
    until(lambda: service.suppression("gone+for-good@away.test")[0] == 200)
    _, entry = service.suppression("gone+for-good@away.test")
    assert (entry["rule"], entry["source"], entry["email_id"]) == ("hard_bounce", "provider:relay", email)
    assert service.suppression("full+for-now@away.test")[0] == 404
    again = service.send("gone+for-good@away.test")
    assert service.recipients(again) == {"gone+for-good@away.test": "suppressed"}


def test_who_is_refused_at_once_has_no_bounce(postfix: Postfix, service: Sending) -> None:
    email = service.send("ada@example.test", "nobody+at-once@example.test")
    report = service.reports(email)["nobody+at-once@example.test"]
    assert (report["bounce_class"], report["smtp_status"], report["enhanced_status"]) == ("hard", 550, "5.1.1")
    assert "User unknown in virtual mailbox table" in report["words"]
    assert service.recipients(email) == {"ada@example.test": "sent", "nobody+at-once@example.test": "bounced"}
    until(lambda: service.suppression("nobody+at-once@example.test")[0] == 200)
    assert _notices(postfix, "bounces", email) == []


def test_a_delay_is_told_and_then_that_it_was_too_long(service: Sending) -> None:
    email = service.send("busy@away.test")
    until(lambda: bool(service.reports(email)))
    delayed, failed = service.reports(email, DEFERRED)["busy@away.test"], service.reports(email)["busy@away.test"]
    assert (delayed["smtp_status"], delayed["enhanced_status"]) == (450, "4.2.1")
    assert (failed["bounce_class"], failed["reason"], failed["enhanced_status"]) == ("soft", "expired", "4.2.1")
    assert delayed["provider_at"] < failed["provider_at"]
    assert service.recipients(email) == {"busy@away.test": "bounced"}
    assert service.suppression("busy@away.test")[0] == 404


def test_a_bounce_may_be_brought_over_http(postfix: Postfix, hooked: Sending) -> None:
    email = hooked.send("gone+http@away.test")
    notice = _notice(postfix, "hooked", email)
    before = hooked.history(email)
    assert hooked.deliver_hook(notice.replace(_token(email), _altered(_token(email)))) == 401
    assert hooked.history(email) == before
    assert hooked.deliver_hook(notice) == 200
    until(lambda: hooked.recipients(email) == {"gone+http@away.test": "bounced"})
    until(lambda: hooked.suppression("gone+http@away.test")[0] == 200)
    after = hooked.history(email)
    assert hooked.deliver_hook(notice) == 200
    assert hooked.history(email) == after


def test_a_forged_bounce_is_put_aside(postfix: Postfix, service: Sending) -> None:
    """It is a genuine one in all but whom it names."""
    email = service.send("ada@example.test", "gone+forged@away.test")
    genuine = _notice(postfix, "bounces", email)
    token = _altered(_token(email, 0))
    forged = genuine.replace(_token(email, 1), token).replace(b"gone+forged@away.test", b"ada@example.test")
    _post(postfix, forged, to=f"bounces+{token.decode()}@bounces.example.test")
    until(lambda: any(path.name.endswith(",F") for path in (postfix.mailbox("bounces") / "cur").iterdir()))
    until(lambda: bool(service.reports(email)))
    assert service.recipients(email) == {"ada@example.test": "sent", "gone+forged@away.test": "bounced"}
    assert service.suppression("ada@example.test")[0] == 404


def _notices(postfix: Postfix, user: str, email: str) -> list[bytes]:
    """The mails in a mailbox that return this email's header."""
    return [mail for mail in postfix.mails(user) if f"X-Postledger-Email-Id: {email}".encode() in mail]


def _notice(postfix: Postfix, user: str, email: str) -> bytes:
    until(lambda: bool(_notices(postfix, user, email)))
    (mail,) = _notices(postfix, user, email)
    return mail


def _token(email: str, index: int = 0) -> bytes:
    return verp.make(VERP_KEY.encode(), UUID(email), index).encode()


def _altered(token: bytes) -> bytes:
    """The same claim, not signed by us."""
    return token[:-2] + (b"a" if token[-2:-1] != b"a" else b"b") + token[-1:]


def _post(postfix: Postfix, mail: bytes, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client:
        client.sendmail("", [to], mail.replace(b"\n", b"\r\n"))
