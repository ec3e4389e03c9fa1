"""The sandbox: sends nothing. It keeps each mail as a file and acts out what happens to it.

What happens is in the recipient: `bounced@sandbox.test`, or with a label of your own `bounced+order-7@sandbox.test`.
Everyone else is delivered to.

    <directory>/<email id>.eml     the mail, as it would have gone over the wire
    <directory>/<email id>.taken   a line for each attempt and recipient it was taken for: evidence for `look_up`
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from application.ports import Clock, Misconfigured, OutgoingMessage
from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from infrastructure.mime import build_mime

DOMAIN = "sandbox.test"
_SOON = timedelta(seconds=1)


class Fate(Enum):
    """What becomes of one recipient in one attempt."""

    TAKEN = auto()
    REFUSED = auto()
    PUT_OFF = auto()
    ANSWER_LOST = auto()  # taken, but we shall not hear of it
    REQUEST_LOST = auto()  # not taken, and we shall not hear of that


_TAKEN = frozenset({Fate.TAKEN, Fate.ANSWER_LOST})
Report = tuple[type[e.RecipientEvent], Mapping[str, Any]]
_DELIVERY: Report = (e.EmailRecipientDelivered, {"words": "250 2.0.0 OK (sandbox)"})
_OPEN: Report = (e.EmailRecipientOpened, {})
_CLICK: Report = (e.EmailRecipientClicked, {"url": "https://sandbox.test/"})
_COMPLAINT: Report = (e.EmailRecipientComplained, {"complaint": "abuse"})
_SUPPRESSION: Report = (e.EmailRecipientSuppressed, {"rule": "sandbox"})
_HARD_BOUNCE: Report = (
    e.EmailRecipientDeliveryFailed,
    {
        "bounce_class": "hard",
        "reason": "invalid_address",
        "smtp_status": 550,
        "enhanced_status": "5.1.1",
        "words": "550 5.1.1 No such user here (sandbox)",
        "add_to_suppression": True,
    },
)


@dataclass(frozen=True, slots=True)
class Act:
    """The part a recipient plays: a fate, what is reported with the answer, and why it did not work."""

    fate: Fate
    reports: tuple[Report, ...] = ()
    error_class: ErrorClass | None = None
    reason: str | None = None
    retry_after: timedelta | None = None
    about_message: bool = False  # and not the provider's trouble
    once: bool = False  # on the first attempt only; later ones deliver
    evidence: bool = True  # whether a look-up can tell


_DELIVERED = Act(Fate.TAKEN, (_DELIVERY,))
_UNKNOWN, _LOST = ErrorClass.UNKNOWN, "answer_lost"

ACTS: Mapping[str, Act] = {
    "delivered": _DELIVERED,
    "opened": Act(Fate.TAKEN, (_DELIVERY, _OPEN)),
    "clicked": Act(Fate.TAKEN, (_DELIVERY, _OPEN, _CLICK)),
    "complained": Act(Fate.TAKEN, (_DELIVERY, _COMPLAINT)),
    "bounced": Act(Fate.TAKEN, (_HARD_BOUNCE,)),
    "suppressed": Act(Fate.REFUSED, (_SUPPRESSION,), ErrorClass.SUPPRESSED, "suppressed"),
    "deferred": Act(Fate.PUT_OFF, (), ErrorClass.TRANSIENT, "greylisted", _SOON, about_message=True, once=True),
    "throttled": Act(Fate.PUT_OFF, (), ErrorClass.RATE_LIMITED, "throttled", _SOON, about_message=True, once=True),
    "down": Act(Fate.PUT_OFF, (), ErrorClass.TRANSIENT, "down"),
    "timeout": Act(Fate.ANSWER_LOST, (_DELIVERY,), _UNKNOWN, _LOST, once=True),
    "timeout+lost": Act(Fate.REQUEST_LOST, (), _UNKNOWN, _LOST, once=True),
    "timeout+silent": Act(Fate.REQUEST_LOST, (), _UNKNOWN, _LOST, once=True, evidence=False),
}
_IN_DOUBT = Answer(error_class=_UNKNOWN, reason=_LOST)
Scene = Sequence[tuple[e.Recipient, Act]]


def act_of(address: str, attempt: int) -> Act:
    """The part that the owner of an address plays in an attempt."""
    local, _, domain = address.lower().rpartition("@")
    if domain != DOMAIN:
        return _DELIVERED
    act = ACTS.get(local) or ACTS.get(local.partition("+")[0], _DELIVERED)
    return _DELIVERED if act.once and attempt > 1 else act


class SandboxProvider:
    """An EmailProvider without a network."""

    separate = False

    def __init__(self, name: str, directory: Path, clock: Clock) -> None:
        self.name = name
        self._directory = directory
        self._clock = clock

    async def send(self, message: OutgoingMessage) -> Answer:
        scene = _scene(message)
        fates = {act.fate for _, act in scene}
        if Fate.REQUEST_LOST in fates:
            return _IN_DOUBT
        taken = [_line(message, recipient) for recipient, act in scene if act.fate in _TAKEN]
        if taken:
            mime = build_mime(message, [(each, await message.read(each)) for each in message.email.attachments])
            try:
                await asyncio.to_thread(self._keep, message.email.originator_id, mime, taken)
            except OSError as error:
                return Answer(error_class=ErrorClass.TRANSIENT, reason="sandbox_full", words=error.strerror or "")
        return _IN_DOUBT if Fate.ANSWER_LOST in fates else self._answer(message, scene)

    async def look_up(self, message: OutgoingMessage) -> Answer | None:
        scene = _scene(message)
        if not all(act.evidence for _, act in scene):
            return None
        taken = await asyncio.to_thread(self._taken, message.email.originator_id)
        found = [(recipient, act) for recipient, act in scene if _line(message, recipient) in taken]
        return self._answer(message, found) if found else Answer()

    async def check(self) -> str | None:
        try:
            await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            return Misconfigured(f"The sandbox's directory cannot be made: {error.strerror}.")
        writable = await asyncio.to_thread(os.access, self._directory, os.W_OK)
        return None if writable else Misconfigured("The sandbox's directory cannot be written to.")

    async def close(self) -> None:
        """Nothing is open."""

    def _answer(self, message: OutgoingMessage, scene: Scene) -> Answer:
        troubled = [act for _, act in scene if act.fate is Fate.PUT_OFF]
        taken = tuple(_known(recipient) for recipient, act in scene if act.fate in _TAKEN)
        why = next(iter(troubled or ([] if taken else [act for _, act in scene])), None)
        return Answer(
            messages=taken,
            put_off=tuple(recipient.id for recipient, act in scene if act.fate is Fate.PUT_OFF),
            reports=tuple(self._reports(message.attempt.attempt, scene)),
            error_class=why.error_class if why else None,
            reason=why.reason if why else None,
            words="250 2.0.0 OK (sandbox)" if taken else "",
            retry_after=max((act.retry_after for act in troubled if act.retry_after), default=None),
            about_message=bool(troubled) and all(act.about_message for act in troubled),
        )

    def _reports(self, attempt: int, scene: Scene) -> Iterable[RecipientReport]:
        said = ((recipient, *report) for recipient, act in scene for report in act.reports)
        now = self._clock()
        for number, (recipient, kind, details) in enumerate(said):
            yield RecipientReport(
                kind,
                recipient.id,
                self.name,
                now + timedelta(milliseconds=number),  # states fold by time: each later than the one before
                provider_event_id=str(uuid5(recipient.id, f"{attempt} {kind.TYPE}")),
                provider_message_id=_known(recipient).message_id,
                details=details,
            )

    def _keep(self, email_id: UUID, mime: bytes, lines: Iterable[str]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        taken = self._taken(email_id).union(lines)
        self._write(f"{email_id}.eml", mime)
        self._write(f"{email_id}.taken", "".join(f"{line}\n" for line in sorted(taken)).encode())

    def _taken(self, email_id: UUID) -> frozenset[str]:
        with suppress(FileNotFoundError):
            return frozenset((self._directory / f"{email_id}.taken").read_text().splitlines())
        return frozenset()

    def _write(self, name: str, data: bytes) -> None:
        """Whole or not at all, for whoever reads it meanwhile."""
        temporary = self._directory / f".{name}.{uuid4().hex}"
        try:
            temporary.write_bytes(data)
            temporary.replace(self._directory / name)
        finally:
            temporary.unlink(missing_ok=True)


def _scene(message: OutgoingMessage) -> Scene:
    return [(each, act_of(each.address, message.attempt.attempt)) for each in message.recipients]


def _line(message: OutgoingMessage, recipient: e.Recipient) -> str:
    return f"{message.attempt.attempt} {recipient.id}"


def _known(recipient: e.Recipient) -> e.ProviderMessage:
    return e.ProviderMessage(recipient_id=recipient.id, message_id=f"sandbox-{recipient.id}")
