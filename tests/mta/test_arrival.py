"""What Postfix takes arrives, as its author wrote it."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from uuid import UUID

from infrastructure.providers import verp
from tests.mta.postfix import Postfix
from tests.mta.sending import VERP_KEY, Sending
from tests.service import until


def test_an_email_arrives_as_it_was_written(postfix: Postfix, service: Sending) -> None:
    email = service.send(
        *("Ada Lövelace <ada@example.test>",),
        subject="Grüße, Ada",
        text="Line one\n.\n.leading dot\nGrüße",
        html="<p>Grüße</p>",
        headers={"X-Order": "1001"},
        reply_to="help@example.org",
    )
    mail = _arrived(postfix, email)
    assert mail["From"] == "Shop <shop@example.org>"
    assert mail["To"] == "Ada Lövelace <ada@example.test>"
    assert (mail["Reply-To"], mail["X-Order"], mail["Subject"]) == ("help@example.org", "1001", "Grüße, Ada")
    assert _text(mail, "plain") == "Line one\n.\n.leading dot\nGrüße"
    assert _text(mail, "html") == "<p>Grüße</p>"
    assert mail["Message-ID"] == service.http.ask("GET", f"/emails/{email}")[1]["message_id"]
    assert service.status(email) == "dispatched"


def test_its_return_path_names_the_recipient_and_is_signed(postfix: Postfix, service: Sending) -> None:
    email = service.send("nobody+first@example.test", "ada@example.test")
    mail = _arrived(postfix, email)
    user, _, domain = str(mail["Return-Path"]).strip("<>").partition("@")
    word, _, token = user.partition("+")
    assert (word, domain) == ("bounces", "bounces.example.test")
    named = verp.verify([VERP_KEY.encode()], token)
    assert named == verp.Named(UUID(email), UUID(str(mail["X-Postledger-Recipient-Id"])))
    assert verp.index_of(named.email_id, named.recipient_id) == 1


def _arrived(postfix: Postfix, email: str) -> EmailMessage:
    """The mail in Ada's mailbox that is this email."""
    found: list[EmailMessage] = []

    def look() -> bool:
        mails = [message_from_bytes(mail, policy=policy.default) for mail in postfix.mails("ada")]
        found[:] = [mail for mail in mails if mail["X-Postledger-Email-Id"] == email]
        return bool(found)

    until(look)
    assert len(found) == 1
    return found[0]


def _text(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).strip()
