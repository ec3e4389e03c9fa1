"""One call for each recipient, and one answer from all of theirs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from application.ports import OutgoingMessage
from domain.answer import Answer, RecipientReport
from domain.delivery import HOPELESS, ErrorClass
from domain.events import EmailRecipientDeliveryFailed, EmailRecipientSuppressed, Recipient

# Trouble that the next recipient's call would meet as well: calling on would only make it worse.
_GENERAL = frozenset(
    {ErrorClass.UNKNOWN, ErrorClass.TRANSIENT, ErrorClass.RATE_LIMITED, ErrorClass.QUOTA, ErrorClass.CONFIG}
)
# Which of several troubles the answer names: UNKNOWN says what the doubtful are, else the one that is over soonest
# decides when to try again.
_FOREMOST = (
    *(ErrorClass.UNKNOWN, ErrorClass.TRANSIENT, ErrorClass.RATE_LIMITED, ErrorClass.CONFIG, ErrorClass.QUOTA),
    None,
)


@dataclass(frozen=True, slots=True)
class _One:
    recipient: Recipient
    answer: Answer


async def send_each(
    message: OutgoingMessage, call: Callable[[Recipient], Awaitable[Answer]], provider: str, now: Callable[[], datetime]
) -> Answer:
    """Call for one recipient after another; those left when the provider is in trouble are put off.

    `call` answers for its recipient alone. A recipient who is refused for good gets a report of that.
    """
    said: list[_One] = []
    for recipient in message.recipients:
        answer = await call(recipient)
        said.append(_One(recipient, answer))
        if not answer.messages and answer.error_class in _GENERAL:
            break
    return combine(message, [(one.recipient, one.answer) for one in said], provider, now())


def combine(message: OutgoingMessage, answers: list[tuple[Recipient, Answer]], provider: str, now: datetime) -> Answer:
    """What the answers come to for the email."""
    if len(message.recipients) == 1:
        return answers[0][1]
    asked = {recipient.id for recipient, _ in answers}
    troubled = [(r.id, a) for r, a in answers if not a.messages and a.error_class not in HOPELESS]
    doubtful = tuple(id for id, a in troubled if a.in_doubt)
    put_off = tuple(id for id, a in troubled if not a.in_doubt) + _rest(message, asked)
    refused = [(r, a) for r, a in answers if not a.messages and a.error_class in HOPELESS]
    taken = tuple(m for _, a in answers for m in a.messages)
    why = min((a for _, a in troubled), key=lambda a: _FOREMOST.index(a.error_class), default=None)
    if why is None and not taken:
        why = next((a for _, a in refused), None)
    return Answer(
        messages=taken,
        put_off=put_off,
        doubtful=doubtful,
        reports=tuple(report for r, a in answers for report in a.reports or _refusal(r, a, provider, now)),
        error_class=why.error_class if why else None,
        reason=why.reason if why else None,
        words=(why or answers[-1][1]).words,
        retry_after=max((a.retry_after or timedelta(0) for _, a in troubled), default=None) or None,
        pause=max((a.pause or timedelta(0) for _, a in answers), default=None) or None,
        about_message=bool(troubled) and all(a.about_message for _, a in troubled),
    )


def _rest(message: OutgoingMessage, asked: set[UUID]) -> tuple[UUID, ...]:
    return tuple(r.id for r in message.recipients if r.id not in asked)


def _refusal(recipient: Recipient, answer: Answer, provider: str, now: datetime) -> tuple[RecipientReport, ...]:
    if answer.messages or answer.error_class not in HOPELESS:
        return ()
    about = RecipientReport(EmailRecipientDeliveryFailed, recipient.id, provider, now)
    if answer.error_class is ErrorClass.SUPPRESSED:
        return (replace(about, kind=EmailRecipientSuppressed, details={"rule": answer.reason or "provider"}),)
    return (replace(about, details={"bounce_class": None, "reason": answer.reason, "words": answer.words}),)
