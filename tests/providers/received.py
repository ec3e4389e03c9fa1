"""Mail that comes to a bounce address, made for tests."""

from uuid import UUID

from domain.feedback import Feedback
from domain.ids import recipient_id
from infrastructure.providers import verp
from infrastructure.providers.dsn import translate_message
from tests.mail import EMAIL_ID

KEY = b"a key of ours"
ADA, BOB = recipient_id(EMAIL_ID, 0), recipient_id(EMAIL_ID, 1)
TOKEN = verp.make(KEY, EMAIL_ID, 0)
ORIGINAL = f"Message-ID: <{EMAIL_ID}@sender.example>\nX-Postledger-Email-Id: {EMAIL_ID}\n"


def dsn(
    *blocks: str,
    to: str = "bounces@bounces.example.com",
    message: str = "Reporting-MTA: dns; mx.example.net",
    original: str = ORIGINAL,
    date: str = "Thu, 1 Jan 2026 12:00:00 +0000",
) -> bytes:
    """A delivery status notification with these blocks of fields, each about one recipient."""
    report = "\n\n".join((message, *blocks))
    return (
        f"From: MAILER-DAEMON@mx.example.net\nTo: {to}\nDate: {date}\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b1"\n\n'
        f"--b1\n\nIt did not work.\n--b1\nContent-Type: message/delivery-status\n\n{report}\n\n"
        f"--b1\nContent-Type: text/rfc822-headers\n\n{original}\n--b1--\n"
    ).encode()


def block(
    action: str, status: str = "", diagnostic: str = "", recipient: str = "ada@example.com", more: str = ""
) -> str:
    fields = {"Final-Recipient": f"rfc822; {recipient}", "Action": action, "Status": status}
    fields["Diagnostic-Code"] = diagnostic
    return "\n".join(f"{name}: {value}" for name, value in fields.items() if value) + (f"\n{more}" if more else "")


def arf(kind: str, report: str = "", original: str = ORIGINAL) -> bytes:
    """A complaint."""
    return (
        "From: fbl@isp.example\nTo: fbl@sender.example\nDate: Thu, 1 Jan 2026 12:00:00 +0000\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b2"\n\n'
        f"--b2\n\nA complaint.\n--b2\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nVersion: 1\n"
        f"{report}\n--b2\nContent-Type: message/rfc822\n\n{original}\nbody\n--b2--\n"
    ).encode()


def plain(text: str, **fields: str) -> bytes:
    """A mail of these fields: `_` in a name stands for `-`, and `From` is a daemon unless it is said."""
    written = {"From": "Mailer-Daemon@mx.example.net", "Date": "Thu, 1 Jan 2026 12:00:00 +0000"} | fields
    head = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in written.items())
    return f"{head}\n{text}".encode()


def the_one(body: bytes) -> Feedback:
    (feedback,) = translate_message(body)
    return feedback


def ids(feedback: Feedback) -> tuple[UUID | None, UUID | None, str | None]:
    return feedback.email_id, feedback.recipient_id, feedback.provider_message_id
