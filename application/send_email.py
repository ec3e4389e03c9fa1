"""Handles SendEmail: decides, commits, answers. An email is accepted when its one append has committed."""

import asyncio
import hashlib
import json
import mimetypes
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from application.commands import AttachmentInput, Caller, Receipt, SendEmail, check_times
from application.errors import IdempotencyConflict, InvalidField, StreamConflict
from application.limits import Admission
from application.policies import Policies
from application.ports import BlobStore, Clock, Ledger, StoredContent, SuppressionList
from domain.address import Mailbox
from domain.content import Content, content_ref
from domain.delivery import DeliveryPolicy
from domain.draft import Draft
from domain.email import Email
from domain.events import AttachmentRef, EmailQueued, Event, Recipient, Stamp
from domain.ids import email_id_for_key, recipient_id, uuid7


@dataclass(frozen=True, slots=True)
class Prepared:
    """One email, decided but not yet committed."""

    id: UUID
    events: Sequence[Event]
    content: StoredContent


class SendEmailHandler:
    """Turns SendEmail commands into queued emails, one or a batch, each key exactly once."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        suppressions: SuppressionList,
        clock: Clock,
        policies: Policies,
        admission: Admission | None = None,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._suppressions = suppressions
        self._clock = clock
        self._policies = policies
        self._admission = admission

    async def __call__(self, command: SendEmail, caller: Caller, key: str | None = None) -> Receipt:
        """Accept one email. Raises InvalidField, IdempotencyConflict, OverQuota, StoreUnavailable,
        BlobStoreUnavailable."""
        fingerprint = await _fingerprint([command], key)
        try:
            email = await self._prepare(command, caller, key, 0, fingerprint)
        except InvalidField:
            # A repeated command may have been overtaken by its own times; the first answer holds all the same.
            if key is not None and (id := email_id_for_key(caller.tenant, key)) and await self._ledger.load(id):
                return await self._replay(id, fingerprint)
            raise
        if not await self._may([email.id], caller, key):
            return await self._replay(email.id, fingerprint)
        try:
            position = await self._ledger.append(email.events, [email.content])
        except StreamConflict:
            return await self._replay(email.id, fingerprint)
        return Receipt(id=email.id, position=position, replayed=False)

    async def batch(self, commands: Sequence[SendEmail], caller: Caller, key: str | None = None) -> list[Receipt]:
        """Accept all of them in one commit, or none. A key stands for the whole list."""
        whole = await _fingerprint(commands, key)
        emails = await asyncio.gather(
            *(self._prepare(command, caller, key, place, whole) for place, command in enumerate(commands))
        )
        if not await self._may([email.id for email in emails], caller, key):
            return [await self._replay(email.id, whole) for email in emails]
        events = [event for email in emails for event in email.events]
        try:
            position = await self._ledger.append(events, [email.content for email in emails])
        except StreamConflict:
            return [await self._replay(email.id, whole) for email in emails]
        return [Receipt(id=email.id, position=position) for email in emails]

    async def _may(self, ids: Sequence[UUID], caller: Caller, key: str | None) -> bool:
        """Count them against the tenant's quota. Raises OverQuota; False for a repetition, which is not counted."""
        if self._admission is None or not self._admission.limited(caller.tenant):
            return True
        if key is not None and await self._ledger.load(ids[0]):
            return False
        await self._admission.admit(caller.tenant, len(ids))
        return True

    async def _prepare(
        self, command: SendEmail, caller: Caller, key: str | None, place: int, fingerprint: str | None
    ) -> Prepared:
        now = self._clock()
        times = check_times(command, now)
        id = uuid7(now) if key is None else email_id_for_key(caller.tenant, key, place)
        attachments = tuple([await self._store(a, place) for place, a in enumerate(command.attachments)])
        body = Content(html=command.html, text=command.text, headers=command.headers).encode()
        draft = Draft(
            sender=command.sender,
            recipients=recipients_of(command, id),
            reply_to=command.reply_to,
            subject=command.subject,
            content=content_ref(body),
            attachments=attachments,
            tags=command.tags,
            metadata=command.metadata,
            priority=command.priority,
            stream=command.stream,
            policy=DeliveryPolicy(),
            fingerprint=fingerprint,
            **times,
        )
        draft = draft._replace(policy=self._policies.of(caller.tenant, draft, command.delivery_policy))
        email = Email.queue(id, caller.tenant, draft, caller.stamp(now))
        await self._leave_out(email, caller.stamp(now))
        blobs = tuple({attachment.sha256 for attachment in attachments})
        return Prepared(id, email.collect_events(), StoredContent(id, body, blobs))

    async def _leave_out(self, email: Email, stamp: Stamp) -> None:
        """Whoever is on the suppression list is left out at once, in so many words."""
        recipients = email.queued.recipients
        addresses = [recipient.address for recipient in recipients]
        rules = await self._suppressions.rules(email.tenant, email.queued.stream, addresses)
        email.suppress({r.id: rules[r.address] for r in recipients if r.address in rules}, stamp)

    async def _replay(self, id: UUID, fingerprint: str | None) -> Receipt:
        """The key was used before: the first answer again for the same command, a conflict for another one."""
        first = (await self._ledger.load(id))[0]
        if not isinstance(first.event, EmailQueued) or first.event.fingerprint != fingerprint:
            raise IdempotencyConflict
        return Receipt(id=id, position=first.position, replayed=True)

    async def _store(self, attachment: AttachmentInput, place: int) -> AttachmentRef:
        try:
            sha256, size = await self._blobs.put(_stream(attachment))
        except ValueError:
            raise InvalidField(f"attachments[{place}].content", "is not valid base64") from None
        guessed = mimetypes.guess_type(attachment.filename)[0] or "application/octet-stream"
        return AttachmentRef(
            sha256=sha256,
            size=size,
            filename=attachment.filename,
            content_type=attachment.content_type or guessed,
            content_id=attachment.content_id,
        )


async def _fingerprint(commands: Sequence[SendEmail], key: str | None) -> str | None:
    """sha256 over the commands' canonical form, the same for every spelling of the same JSON. Only keys need it."""
    if key is None:
        return None
    if any(command.attachments for command in commands):
        return await asyncio.to_thread(_digest, commands)  # megabytes; the event loop has others to serve
    return _digest(commands)


def _digest(commands: Sequence[SendEmail]) -> str:
    digest = hashlib.sha256()
    for command in commands:
        digest.update(json.dumps(command.model_dump(mode="json", by_alias=True), sort_keys=True).encode())
    return digest.hexdigest()


def recipients_of(command: SendEmail, email_id: UUID) -> tuple[Recipient, ...]:
    """Everyone addressed, each person once: the first mention (to, cc, bcc) wins."""
    seen: dict[str, Recipient] = {}
    kinds: tuple[tuple[Literal["to", "cc", "bcc"], tuple[Mailbox, ...]], ...]
    kinds = (("to", command.to), ("cc", command.cc), ("bcc", command.bcc))
    for kind, mailboxes in kinds:
        for mailbox in mailboxes:
            key = mailbox.address.casefold()
            if key not in seen:
                id = recipient_id(email_id, len(seen))
                seen[key] = Recipient(id=id, kind=kind, address=mailbox.address, name=mailbox.name)
    return tuple(seen.values())


async def _stream(attachment: AttachmentInput) -> AsyncIterator[bytes]:
    for chunk in attachment.chunks():
        yield chunk
