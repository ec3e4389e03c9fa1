"""Exports events for auditors: files of bounded size, and a manifest at the end that says what they must be."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from application.ports import Log, Recorded, Unreadable
from domain.address import address_key
from domain.events import EmailQueued, Event, RecipientEvent
from domain.ids import suppression_id
from infrastructure.audit import manifest
from infrastructure.audit.formats import COLUMNS, FORMATS, File, Row
from infrastructure.audit.signing import Signer

Progress = Callable[[int, int], None]  # (position reached, position to reach)
_PAGE = 1000
_AT_ONCE = 250  # events written before the size of the file is looked at
_ENVELOPE = frozenset(Event.model_fields)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: after one position up to another, of some times, one tenant, one person."""

    after: int
    up_to: int
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before
    tenant: str | None = None
    person: str | None = field(default=None, repr=False)  # an address, normalised

    def as_document(self) -> dict[str, Any]:
        times = {"since": self.since and self.since.isoformat(), "until": self.until and self.until.isoformat()}
        return {"after": self.after, "up_to": self.up_to, **times, "tenant": self.tenant, "person": self.person}

    @property
    def start(self) -> int:
        """After which position to read: whom an email is to, only its first event says."""
        return self.after if self.person is None else 0


class Export:
    """One export into an empty directory. Broken off, it leaves no manifest."""

    def __init__(self, directory: Path, format: str, most: int) -> None:
        """`most`: bytes after which another file is begun."""
        self._directory = directory
        self._format = format
        self._most = most
        self._file: File | None = None
        self._files: list[dict[str, Any]] = []
        self._unreadable = 0

    async def run(
        self, log: Log, wanted: Wanted, about: dict[str, Any], signer: Signer | None, report: Progress
    ) -> dict[str, Any]:
        """Write the files, then the manifest, which is returned; `about` goes into it. Raises OSError."""
        try:
            await self._all(log, wanted, report)
        finally:
            if self._file is not None:  # broken off
                self._file.close()
        document = {
            "type": manifest.TYPE,
            "format": self._format,
            "columns": list(COLUMNS),
            "wanted": wanted.as_document(),
            "events": sum(file["events"] for file in self._files),
            "unreadable": self._unreadable,
            "files": self._files,
            **about,
        }
        return dict(await asyncio.to_thread(manifest.write, self._directory, document, signer))

    async def _all(self, log: Log, wanted: Wanted, report: Progress) -> None:
        choose = _Choice(wanted)
        position = wanted.start
        while position < wanted.up_to and (page := await log.scan(position, _PAGE)):
            position = page[-1].position
            rows = [row(each) for each in page if choose.has(each)]
            self._unreadable += sum(row["event_id"] is None for row in rows)
            for start in range(0, len(rows), _AT_ONCE):
                await asyncio.to_thread(self._write, rows[start : start + _AT_ONCE])
            report(min(position, wanted.up_to), wanted.up_to)
        await asyncio.to_thread(self._finish)

    def _write(self, rows: Sequence[Row]) -> None:
        if self._file is None:
            name = f"events-{len(self._files) + 1:06}.{self._format}"
            self._file = FORMATS[self._format](self._directory / name)
            self._files.append({"name": name, "events": 0, "first": rows[0]["position"]})
        self._file.write(rows)
        self._files[-1]["events"] += len(rows)
        self._files[-1]["last"] = rows[-1]["position"]
        if self._file.size() >= self._most:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        path = self._directory / self._files[-1]["name"]
        self._files[-1] |= {"size": path.stat().st_size, "sha256": manifest.digest_of(path)}


def row(each: Recorded | Unreadable) -> dict[str, Any]:
    """The columns of an event. Of one that the code cannot read, what is known all the same."""
    if isinstance(each, Unreadable):
        known = {"position": each.position, "type": each.topic, "stream_id": str(each.stream_id)}
        return {**dict.fromkeys(COLUMNS), **known, "version": each.version}
    event = each.event
    return {
        "position": each.position,
        "type": each.topic,
        "stream_id": str(event.originator_id),
        "version": event.originator_version,
        "event_id": str(event.event_id),
        "occurred_at": event.occurred_at.isoformat(),
        "tenant": event.tenant,
        "actor": event.actor,
        "correlation_id": str(event.correlation_id),
        "causation_id": str(event.causation_id) if event.causation_id else None,
        "traceparent": event.traceparent,
        "data": event.model_dump(mode="json", exclude=set(_ENVELOPE)),
    }


class _Choice:
    """Tells which events are wanted; of a person's emails it remembers which they are."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._key = address_key(wanted.person) if wanted.person else None
        self._emails: dict[UUID, frozenset[UUID]] = {}  # of the person: their recipients' ids

    def has(self, each: Recorded | Unreadable) -> bool:
        """To be asked about every event, in order."""
        about = self._key is None or self._is_about(self._key, each)
        return about and self._wanted.after < each.position <= self._wanted.up_to and self._fits(each)

    def _fits(self, each: Recorded | Unreadable) -> bool:
        """An unreadable event is in every export of its range, unless it is narrowed to somebody's."""
        wanted = self._wanted
        if isinstance(each, Unreadable):
            return wanted.tenant is None
        return (
            (wanted.tenant is None or each.event.tenant == wanted.tenant)
            and (wanted.since is None or each.event.occurred_at >= wanted.since)
            and (wanted.until is None or each.event.occurred_at < wanted.until)
        )

    def _is_about(self, key: str, each: Recorded | Unreadable) -> bool:
        if isinstance(each, Unreadable):
            return each.stream_id in self._emails
        event = each.event
        if isinstance(event, EmailQueued) and (ids := _ids(event, key)):
            self._emails[event.originator_id] = ids
        if isinstance(event, RecipientEvent):
            return event.recipient_id in self._emails.get(event.originator_id, ())
        return event.originator_id in self._emails or event.originator_id == suppression_id(event.tenant, key)


def _ids(queued: EmailQueued, key: str) -> frozenset[UUID]:
    return frozenset(r.id for r in queued.recipients if address_key(r.address) == key)
