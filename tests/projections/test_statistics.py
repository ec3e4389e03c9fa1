"""Statistics count each thing once, where it belongs, however the log is cut; and add up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from ddsketch.mapping import LogarithmicMapping
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, select

from application.ports import Recorded
from domain.status import EmailStatus, RecipientStatus
from infrastructure.database.engines import Database
from projections import emails, statistics
from projections.email_list import counts_by_status
from projections.statistics import COUNTS, TIMES
from projections.statistics_measures import ENDS
from tests.projections.counting import counted, summed
from tests.projections.reading import batches, numbered, scratch
from tests.projections.told import told
from tests.strategies import Life, chances, woven

ONLY = (statistics.PROJECTION, emails.PROJECTION)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(SOME, max_examples=10)
Counts = Counter[tuple[Any, ...]]


def folded(connection: Connection, pages: Sequence[Sequence[Recorded]]) -> tuple[Counts, Counts]:
    """What stands in the tables, by their keys; what came to nothing left out."""
    for page in pages:
        for projection in ONLY:
            projection.fold(connection, projection.tables(""), page)
    tables = ([tuple(row) for row in connection.execute(select(table))] for table in (COUNTS, TIMES))
    counts, times = (Counter({row[:-1]: row[-1] for row in rows if row[-1]}) for rows in tables)
    return counts, times


def timed(lives: Sequence[Life]) -> Counts:
    """The rows of times there have to be for everything together."""
    key, found = LogarithmicMapping(0.02).key, Counts()
    for life in lives:
        for measure, hour, _, took in counted(life.events)[1]:
            milliseconds = max(int(took.total_seconds() * 1000), 1)
            found[life.email.tenant, "all", hour, "", measure, key(milliseconds)] += 1
    return found


def check(database: Database, chance: Random) -> None:
    lives = told(chance, emails=chance.randrange(1, 10), steps=40)
    log = numbered(woven(chance, lives))
    with scratch(database, ONLY) as connection:
        counts, times = folded(connection, list(batches(chance, log)))
        assert counts == summed([life.events for life in lives])
        assert Counter({row: n for row, n in times.items() if row[1] == "all"}) == timed(lives)
        assert min([*counts.values(), *times.values()]) > 0
        for tenant in ("acme", "globex"):
            mine, sums = [life for life in lives if life.email.tenant == tenant], over_all(counts, tenant)
            assert sums["accepted"] == sum(counts_by_status(connection, tenant).values())
            every_recipient_is_accounted_for(sums, mine)
            every_call_is_accounted_for(sums, mine)
    for life in lives:
        emails_end_as_their_statuses_say(life)


def over_all(counts: Counts, tenant: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for (whose, dimension, _, _, measure), n in counts.items():
        if (whose, dimension) == (tenant, "all"):
            found[measure] += n
    return found


def every_recipient_is_accounted_for(sums: Counter[str], lives: Sequence[Life]) -> None:
    """Each stands at one end, or is under way; a requeue lets it come to another one."""
    people = [(life.email.standing, r) for life in lives for r in life.email.standing.recipients.values()]
    under_way = sum(r.status in _OPEN and (r.handed_over or standing.ended is None) for standing, r in people)
    assert sums["recipients"] == len(people)
    assert sums["delivered"] == sum(r.status in _REACHED for _, r in people)
    assert sums["recipients"] + sums["requeued"] == sum(sums[measure] for measure in ENDS) + under_way


def every_call_is_accounted_for(sums: Counter[str], lives: Sequence[Life]) -> None:
    outcomes = ("taken", "in_doubt", "call_expired", *(name for name in sums if name.startswith("error_")))
    assert sums["attempts"] == sum(len(life.email.attempts) for life in lives)
    calling = sum(life.email.status is EmailStatus.SENDING for life in lives)
    assert sums["attempts"] == sum(sums[outcome] for outcome in outcomes) + calling


def emails_end_as_their_statuses_say(life: Life) -> None:
    """An email to one person has as many ends as it was requeued, and its last one if it came to that."""
    status = life.email.status
    if len(life.email.standing.recipients) > 1 or status in (EmailStatus.SENDING, EmailStatus.UNCONFIRMED):
        return
    ends = [measure for measure, *_ in counted(life.events)[0] if measure in ENDS]
    assert len(ends) == life.email.requeues + (status in _ENDED)
    # What a provider said of the recipient is told instead of how the email ended that nobody took.
    reported = ("bounced", "rejected", "suppressed") if status in _NOT_TAKEN else ()
    assert status not in _ENDED or ends[-1].startswith((*_ENDED[status], *reported))


_OPEN = (RecipientStatus.PENDING, RecipientStatus.SENT, RecipientStatus.DEFERRED)
_REACHED = (RecipientStatus.DELIVERED, RecipientStatus.COMPLAINED)
_NOT_TAKEN = (EmailStatus.FAILED, EmailStatus.CANCELLED, EmailStatus.EXPIRED, EmailStatus.SUPPRESSED)
_ENDED: Mapping[EmailStatus, tuple[str, ...]] = {
    EmailStatus.DELIVERED: ("delivered",),
    EmailStatus.BOUNCED: ("bounced", "rejected"),
    EmailStatus.SUPPRESSED: ("suppressed",),
    EmailStatus.FAILED: ("failed",),
    EmailStatus.CANCELLED: ("cancelled",),
    EmailStatus.EXPIRED: ("expired",),
}


@given(chance=chances)
@SOME
def test_it_counts_what_a_slow_and_plain_count_counts(sqlite: Database, chance: Random) -> None:
    check(sqlite, chance)


@given(chance=chances)
@FEW
def test_it_counts_the_same_on_postgresql(postgres: Database, chance: Random) -> None:
    check(postgres, chance)
