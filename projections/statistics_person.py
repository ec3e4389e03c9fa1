"""What one recipient gives to the statistics: where it stands, and the reports that led to that. No address is kept."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from domain import events as e
from domain.standing import REPORTED, RecipientStanding, is_current, reported_status
from domain.status import RecipientStatus
from projections.statistics_measures import micros, moment

_MOST = 10  # reports of one kind about one recipient that are remembered, so that they can be taken back

# What reports are kept as. Ends are of the latest round; a requeue begins another one.
_BOUNCES = {"hard": "h", "soft": "s", "undetermined": "u", None: "r"}
ENDS = {
    **{"d": "delivered", "h": "bounced_hard", "s": "bounced_soft", "u": "bounced_undetermined", "r": "rejected"},
    **{"x": "suppressed"},
}
_ONCE = {
    **{"c": "complained", "o": "opened", "m": "opened_by_machine", "k": "clicked", "b": "clicked_by_machine"},
    **{"n": "unsubscribed", "y": "delayed"},
}
EACH = {"o": "opens", "k": "clicks"}
_REACHED = frozenset({RecipientStatus.DELIVERED, RecipientStatus.COMPLAINED})
_KINDS = {RecipientStatus.DELIVERED: "d", RecipientStatus.SUPPRESSED: "x", RecipientStatus.COMPLAINED: "c"}
_MISSED = {RecipientStatus.BOUNCED: "hsur", RecipientStatus.SUPPRESSED: "x"}  # what may be behind such a status


class Share(NamedTuple):
    """Something that counts for one; of a time the bucket."""

    measure: str
    hour: int
    provider: str | None
    bucket: int | None = None


class Report(NamedTuple):
    """What a provider said of a recipient, as far as it counts."""

    id: str
    kind: str
    hour: int
    provider: str | None
    at: int  # the provider's time
    bucket: int | None  # of the time to delivery


@dataclass(slots=True)
class Person:
    """One recipient, without an address: where it stands, and what led to that."""

    standing: RecipientStanding
    domain: str
    reports: list[Report] = field(default_factory=list)
    taken: tuple[int, str, int] | None = None  # hour, provider and bucket of the hand-over
    ended: tuple[str, int, str | None] | None = None  # measure, hour and provider, when the email ended without it

    def shares(self) -> list[Share]:
        found = list(self._engagement())
        if self.taken:
            hour, provider, time = self.taken
            found += (Share("dispatched", hour, provider), Share("time_to_dispatch", hour, provider, time))
        if end := self._end():
            found.append(end)
            if self.standing.status is RecipientStatus.BOUNCED and not self.taken:
                found.append(end._replace(measure="refused"))
        return found

    def _engagement(self) -> Iterator[Share]:
        seen: set[str] = set()
        for report in self.reports:
            kind = report.kind
            if kind in _ONCE and kind not in seen:
                seen.add(kind)
                yield Share(_ONCE[kind], report.hour, report.provider)
            if kind in EACH:
                yield Share(EACH[kind], report.hour, report.provider)
            elif kind == "d" and kind not in seen and self.standing.status in _REACHED:
                seen.add(kind)
                yield Share("time_to_delivery", report.hour, report.provider, report.bucket)

    def _end(self) -> Share | None:
        report = self._behind(self.standing.status)
        if report:
            return Share("delivered" if report.kind == "c" else ENDS[report.kind], report.hour, report.provider)
        if self.ended and not self.standing.handed_over:
            return Share(*self.ended)
        return None

    def _behind(self, status: RecipientStatus) -> Report | None:
        """The report that made it stand so: of deliveries the first, for more of them are no news."""
        if status in _REACHED:
            told = [r for r in self.reports if r.kind == "d"] or [r for r in self.reports if self._complains(r)]
            return told[0] if told else None
        told = [r for r in self.reports if r.kind in _MISSED.get(status, "")]
        at = micros(self.standing.at) if self.standing.at else None
        return next((r for r in told if r.at == at), told[-1] if told else None)

    def _complains(self, report: Report) -> bool:
        return report.kind == "c" and is_current(moment(report.at), self.standing.since)

    def remember(self, report: Report) -> bool:
        """Whether it can be taken back later."""
        same = [place for place, known in enumerate(self.reports) if known.kind == report.kind]
        if len(same) < _MOST:
            self.reports.append(report)
        elif report.kind in ENDS:
            self.reports[same[-1]] = report
        return len(same) < _MOST

    def begin_again(self) -> None:
        self.taken = self.ended = None
        self.reports = [report for report in self.reports if report.kind not in ENDS]


def read(stored: list[Any]) -> tuple[UUID, Person]:
    hex, domain, status, at, since, handed_over, taken, ended, reports = stored
    id = UUID(hex)
    standing = RecipientStanding(id, "", "", status=RecipientStatus(status), handed_over=bool(handed_over))
    standing.at, standing.since = (None if each is None else moment(each) for each in (at, since))
    taken, ended = (tuple(each) if each else None for each in (taken, ended))
    return id, Person(standing, domain, [Report(*report) for report in reports], taken, ended)


def written(person: Person) -> tuple[Any, ...]:
    standing = person.standing
    at, since = (None if each is None else micros(each) for each in (standing.at, standing.since))
    stands = (standing.id.hex, person.domain, standing.status.value, at, since, int(standing.handed_over))
    return *stands, person.taken, person.ended, person.reports


def short(id: UUID) -> str:
    """Enough to tell one event of an email from another."""
    return id.hex[16:]


def _kind_by_status(event: e.RecipientEvent) -> str:
    if isinstance(event, e.EmailRecipientDeliveryFailed) and event.final:
        return _BOUNCES[event.bounce_class]
    return _KINDS.get(reported_status(event), "y")


KIND_OF: Mapping[type[e.Event], Callable[[Any], str | None]] = {
    **dict.fromkeys(REPORTED, _kind_by_status),
    e.EmailRecipientOpened: lambda event: "m" if event.machine else "o",
    e.EmailRecipientClicked: lambda event: "b" if event.machine else "k",
    e.EmailRecipientUnsubscribed: lambda event: "n",
    e.EmailRecipientResubscribed: lambda event: None,
    e.EmailRecipientReportWithdrawn: lambda event: None,
}
