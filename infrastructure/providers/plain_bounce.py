"""Mail to a bounce address that is no report: answers of a machine, and bounces in words alone.

Quirks:
* Exim's notices and some others say `Auto-Submitted: auto-replied` as an automatic reply does (RFC 3834), but name the
  failed recipient in `X-Failed-Recipients`. qmail's name it in a line of its own.
* Absence notes come with an empty return path too, and some without any field that says what they are.
* What stands in the copy of our own message says nothing: a mail about quotas is no full mailbox.
"""

import re

from domain.feedback import Feedback, Kind
from infrastructure.providers import bounce, reading
from infrastructure.providers.bounced_original import original_of
from infrastructure.providers.received_mail import ReceivedMail

_DAEMON = re.compile(r"\b(?:mailer-daemon|mail-daemon|postmaster)\b", re.I)
_BY_A_MACHINE = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-mail-autoreply")
_ABSENT = re.compile(
    r"auto(?:matic|mated|mat)?[ -]?(?:reply|response|ische antwort)\b|auto:|out of (?:the )?office|abwesen|"
    r"automatische antwort|r[ée]ponse automatique|respuesta autom[áa]tica|risposta automatica",
    re.I,
)
_DELAYED = re.compile(
    r"\bwill (?:continue|keep) (?:to try|trying)|will be retried|not yet been delivered|delivery (?:is|has been) "
    r"delayed|warning: (?:message|could not send)|you do not need to resend|no action is required on your part",
    re.I,
)
_LONGEST_REPLY = 400  # characters
_CODE = r"(?P<code>[45]\d\d)"
_STATUS = r"#?(?P<status>[45]\.\d{1,3}\.\d{1,3})(?![.\d])"
_FULL_REPLY = re.compile(rf"(?<![\d.]){_CODE}[ -]{_STATUS}")
_REPLY = re.compile(rf"(?:^[ \t]*+|: |\()(?:{_CODE}[ -](?=\S)|{_STATUS})", re.M)
_NAMED = re.compile(r"^[ \t]*+<?([^\s<>@:;,]{1,64}@[^\s<>@:;,]{1,255})>?:?[ \t]*$", re.M)


def automatic_reply(mail: ReceivedMail) -> list[Feedback]:
    """An absence note or the like: IGNORED. Nothing when it is none."""
    submitted = mail.fields.get("auto-submitted", "").lower()
    replied = submitted.startswith(("auto-replied", "auto-notified"))
    if "x-failed-recipients" in mail.fields or not (replied or _answers_for_a_person(mail, submitted)):
        return []
    return [_feedback(mail, "auto-reply", Kind.IGNORED, reason="auto_reply")]


def _answers_for_a_person(mail: ReceivedMail, submitted: str) -> bool:
    says_so = (
        submitted.startswith("auto-generated")
        or mail.fields.get("precedence", "").lower().startswith("auto_reply")
        or any(name in mail.fields for name in _BY_A_MACHINE)
        or _ABSENT.match(mail.fields.get("subject", "")) is not None
    )
    return says_so and not _from_daemon(mail)


def plain_bounce(mail: ReceivedMail) -> list[Feedback]:
    """A bounce, or word of a delay, in a text for people. Nothing when a person wrote it."""
    if not (_from_daemon(mail) or "x-failed-recipients" in mail.fields or _null_return_path(mail)):
        return []
    if _DELAYED.search(mail.words):
        return [bounce.deferred(_feedback(mail, "text/delayed", Kind.DEFERRED), bounce.put_off(*_said(mail)))]
    return [bounce.bounced(_feedback(mail, "text/failed", Kind.BOUNCED), bounce.failed(*_said(mail)))]


def _from_daemon(mail: ReceivedMail) -> bool:
    return _DAEMON.search(mail.fields.get("from", "")) is not None


def _null_return_path(mail: ReceivedMail) -> bool:
    return mail.fields.get("return-path", "-").strip("<> ") == ""


def _said(mail: ReceivedMail) -> tuple[str | None, str]:
    """The status and the words of the failure: the reply that it quotes, else all it says."""
    found = _FULL_REPLY.search(mail.words) or _REPLY.search(mail.words)
    if found is None:
        return None, " ".join(mail.words.split())
    begin = found.start("code") if found["code"] else found.start("status")
    reply = mail.words[begin : begin + _LONGEST_REPLY].partition("\n\n")[0]
    return found["status"], " ".join(reply.split())


def _recipient(mail: ReceivedMail) -> str | None:
    named = mail.fields.get("x-failed-recipients", "").strip()
    if "@" in named and "," not in named:
        return reading.text(named)
    found = _NAMED.search(mail.words)
    return found[1] if found else None


def _feedback(mail: ReceivedMail, provider_type: str, kind: Kind, *, reason: str | None = None) -> Feedback:
    original, recipient = original_of(mail), _recipient(mail) if kind is not Kind.IGNORED else None
    return Feedback(
        kind=kind,
        provider_type=provider_type,
        keys=(reading.key(provider_type, original.key, recipient, original.moment),),
        occurred_at=original.moment,
        email_id=original.email_id,
        recipient_id=original.recipient_id,
        recipient=recipient,
        provider_message_id=original.message_id,
        reason=reason,
    )
