"""An email's history for people: one line an event, and where that leaves everyone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.text import Text

from domain.catalogue import EVENTS
from domain.events import EmailQueued, Event
from domain.outlook import Outlook
from domain.standing import Standing
from domain.status import EmailStatus
from infrastructure.cli.client import Client
from infrastructure.cli.display import plain, table
from infrastructure.cli.failures import NOT_FOUND, Failure

_CLASSES = {event.TYPE: event for event in EVENTS}
_BAD, _GOOD, _OPEN = "red", "green", "yellow"
COLOURS: Mapping[str, str] = {
    **dict.fromkeys(("bounced", "failed", "expired", "complained", "suppressed", "partially_delivered"), _BAD),
    **dict.fromkeys(("delivered", "dispatched", "sent"), _GOOD),
    **dict.fromkeys(("unconfirmed", "deferred", "scheduled", "queued", "sending"), _OPEN),
}

_WHY = ("provider", "error_class", "reason", "retry_at", "settle_at")

# What there is to say about an event besides its name; the braces name its fields, `who` those it is about.
DETAILS: Mapping[str, str] = {
    "email.queued": "from {sender[address]} to {who}",
    "email.rescheduled": "to {send_at}",
    "email.delivery_started": "attempt {attempt} through {provider}: {route} {given_up}",
    "email.dispatched": "{provider} took it for {who} {words}",
    "email.delivery_deferred": "{error_class} {reason}, again at {retry_at} {words}",
    "email.delivery_failed": "{error_class} {reason} {words}",
    "email.delivery_unconfirmed": "{reason}: {provider} may or may not have it; to be settled at {settle_at}",
    "email.delivery_resolved": "{resolution}, by {evidence} {reason}",
    "email.requeued": "{who}: {reason} {provider}",
    "email.content_purged": "{reason}",
    "email.recipient_delivered": "{who} {words}",
    "email.recipient_deferred": "{who} {reason} {words}",
    "email.recipient_delivery_failed": "{who}: {bounce_class} {reason} {words}",
    "email.recipient_suppressed": "{who}: {rule}",
    "email.recipient_opened": "{who}",
    "email.recipient_clicked": "{who} {url}",
    "email.recipient_complained": "{who} {complaint}",
    "email.recipient_unsubscribed": "{who} {scope}",
    "email.recipient_resubscribed": "{who} {scope}",
    "email.recipient_report_withdrawn": "{who}: {provider} said {provider_type}, and that was misread before",
    "email.feedback_unattributed": "{kind}, says {provider}, and not by whom {reason} {words}",
    "suppression.added": "{address} {scope}: {rule}, {source} {reason}",
    "suppression.removed": "{address} {scope}: {rule}, {source} {reason}",
    "provider.degraded": "{provider}: {rule}, {failures} of {calls} failed, last {error_class} {reason}; until {until}",
    "provider.recovered": "{provider}: {evidence}",
    "provider.paused": "{provider}: {reason}",
    "provider.resumed": "{provider}: {reason}",
    "provider.drill_started": "{provider}: {fault} at a rate of {rate}, until {until}",
    "provider.drill_ended": "{provider}",
}


@dataclass(frozen=True, slots=True)
class Timeline:
    """One email's history, as the API gives it, and the standing it folds to."""

    id: str
    entries: Sequence[Mapping[str, Any]]
    queued: EmailQueued
    outlook: Outlook

    @classmethod
    def of(cls, id: str, entries: Sequence[Mapping[str, Any]]) -> "Timeline":
        history = [_event(id, entry) for entry in entries]
        queued = history[0]
        assert isinstance(queued, EmailQueued)  # noqa: S101 - Outlook.of refuses other histories
        return cls(id, entries, queued, Outlook.of(history))

    @property
    def standing(self) -> Standing:
        return self.outlook.standing

    def as_document(self) -> dict[str, Any]:
        """For programs."""
        recipients = [
            {
                **{"address": r.address, "kind": r.kind, "status": r.status, "at": r.at and r.at.isoformat()},
                "reason": self.outlook.reasons.get(r.id),
            }
            for r in self.standing.recipients.values()
        ]
        why = {name: _as_json(getattr(self.outlook, name)) for name in _WHY}
        stands = {"id": self.id, "status": self.standing.status, **why, "attempts": self.standing.attempt}
        return {**stands, "recipients": recipients, "events": list(self.entries)}

    def show(self, console: Console, title: str = "", note: str = "") -> None:
        """For people."""
        status = self.standing.status.value
        console.print(Text.assemble((title or plain(self.queued.subject), "bold"), f"  {self.id}"))
        names = {str(r.id): r.address for r in self.queued.recipients}
        rows = [[clock(e["occurred_at"]), word(e["type"]), details(e["type"], e["data"], names)] for e in self.entries]
        if note:
            console.print(Text(note, style="italic"))
        console.print(table(["time", "event", "what"], rows))
        ends = [Text.assemble(f"{plain(r.address)} ", coloured(r.status)) for r in self.standing.recipients.values()]
        console.print(Text.assemble("Now ", coloured(status), " (", Text(", ").join(ends), ")"))
        console.print(Text(plain(self._why())), end="\n\n" if self._why() else "\n")

    def _why(self) -> str:
        """Why, and what is next, in one line; nothing where all is as it should be."""
        outlook = self.outlook
        if outlook.error_class is None and outlook.reason is None:
            return ""
        because = " ".join(filter(None, (outlook.error_class, outlook.reason)))
        asked = f"attempts: {self.standing.attempt}, the last through {outlook.provider}" if outlook.provider else ""
        told = "; ".join(filter(None, (f"Because: {because}", asked, self._next())))
        return f"{told}."

    def _next(self) -> str:
        if self.standing.status is EmailStatus.UNCONFIRMED:
            settle_at = self.outlook.settle_at
            return f"to be settled at {_said(settle_at.isoformat())}" if settle_at else "parked for an operator"
        retry_at = self.outlook.retry_at
        return f"again at {_said(retry_at.isoformat())}" if retry_at else ""


def fetch(client: Client, email_id: str, as_of: str | None = None) -> Timeline:
    """Ask the service for the history, up to a version or time if one is given."""
    params = {"as_of": as_of} if as_of else {}
    entries = client.ask("GET", f"/emails/{email_id}/events", params=params).json()["data"]
    if not entries:
        raise Failure(f"There was no such email yet at {as_of}.", "Its first event has version 1.", NOT_FOUND)
    return Timeline.of(email_id, entries)


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def word(topic: str) -> str:
    """`email.recipient_delivered.v1` as people say it: recipient delivered."""
    return topic.rpartition(".v")[0].removeprefix("email.").replace("_", " ")


def details(topic: str, data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What there is to say about an event, empty fields left out."""
    template = DETAILS.get(topic.rpartition(".v")[0], "")
    fields = {name: _said(value) for name, value in data.items()}
    given_up = ", ".join(data.get("concessions") or ())
    fields |= {"who": _who(data, names), "given_up": given_up and f"(concessions: {given_up})"}
    said = " ".join(template.format_map(fields).split())
    return f"{said} (corrects an earlier report)" if data.get("corrects") else said


def coloured(status: str) -> Text:
    return Text(status, style=COLOURS.get(status, ""))


def _who(data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The addresses an event is about: those it names itself, or those its recipient ids stand for."""
    if "recipient_id" in data:
        about = [data["recipient_id"]]
    else:
        about = [message["recipient_id"] for message in data.get("messages", ())] or data.get("recipients", ())
    return ", ".join(each["address"] if isinstance(each, dict) else _name(each, names) for each in about)


def _name(recipient_id: str, names: Mapping[str, str]) -> str:
    """An address where it is known; a single event does not tell it. Ids of one email differ at their ends."""
    return names.get(recipient_id) or f"recipient {str(recipient_id)[-8:]}"


def _said(value: Any) -> Any:
    if isinstance(value, str) and (at := _moment(value)):
        return f"{at:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else value


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone() if len(text) >= len("2026-01-01T00:00:00Z") else None
    except ValueError:
        return None


def clock(text: str) -> str:
    """The time of an event, where the reader is."""
    at = _moment(text)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}" if at else text


def _event(id: str, entry: Mapping[str, Any]) -> Event:
    """The event behind an entry. What the API leaves out of it does not matter to where an email stands."""
    bookkeeping = {
        "originator_id": UUID(id),
        "originator_version": entry["version"],
        "event_id": entry["id"],
        "occurred_at": entry["occurred_at"],
        "tenant": "",
        "actor": entry["actor"],
        "correlation_id": entry["id"],
    }
    return _CLASSES[entry["type"].rpartition(".v")[0]].model_validate(bookkeeping | entry["data"])
