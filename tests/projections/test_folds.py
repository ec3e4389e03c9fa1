"""Every read model is a pure fold of the log, however the log is cut into batches."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, select

from application.ports import Recorded
from domain import events as e
from domain.email import Email
from domain.standing import Standing
from infrastructure.database.engines import Database
from projections.dispatch_queue import QUEUE
from projections.email_list import EmailFilter, counts_by_status, page
from projections.emails import EMAILS
from projections.projection import Events
from projections.recipients import RECIPIENTS
from tests.projections.reading import ALL, batches, numbered, rows, scratch
from tests.strategies import Life, chances, history, woven

FEW = settings(max_examples=12, deadline=None)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lived(chance: Random) -> tuple[list[Life], list[Recorded]]:
    lives = history(chance, emails=chance.randrange(1, 12), steps=14)
    return lives, numbered(woven(chance, lives))


def fold(connection: Connection, log: Sequence[Events]) -> None:
    for batch in log:
        for projection in ALL:
            projection.fold(connection, projection.tables(""), batch)


def check_batches(database: Database, chance: Random) -> None:
    _, log = lived(chance)
    with scratch(database) as connection:
        fold(connection, [log])
        whole = rows(connection)
    with scratch(database) as connection:
        fold(connection, list(batches(chance, log)))
        assert rows(connection) == whole


def check_truth(database: Database, chance: Random) -> None:
    lives, log = lived(chance)
    with scratch(database) as connection:
        fold(connection, list(batches(chance, log)))
        emails_stand_as_their_streams_say(connection, lives)
        recipients_stand_as_their_streams_say(connection, lives)
        nothing_is_lost(connection, lives)
        the_queue_holds_what_is_due(connection, [life.email for life in lives])


def emails_stand_as_their_streams_say(connection: Connection, lives: Sequence[Life]) -> None:
    found = {row.id: row for row in connection.execute(select(EMAILS))}
    assert len(found) == len(lives)
    for life in lives:
        row, standing = found[life.email.id], Standing.of(life.events)
        assert (row.status, row.last_event) == (standing.status.value, standing.last_event)
        assert row.attempts == max(life.email.attempts, default=0)
        assert Standing.decode(row.standing) == standing
        assert row.updated_at == life.events[-1].occurred_at


def recipients_stand_as_their_streams_say(connection: Connection, lives: Sequence[Life]) -> None:
    found = {(row.email_id, row.id): row for row in connection.execute(select(RECIPIENTS))}
    assert len(found) == sum(len(life.email.queued.recipients) for life in lives)
    for life in lives:
        for r in life.email.standing.recipients.values():
            row = found[life.email.id, r.id]
            assert (row.status, row.at, row.handed_over) == (r.status.value, r.at, r.handed_over)
            assert (row.opened_at, row.clicked_at) == (r.opened_at, r.clicked_at)


def nothing_is_lost(connection: Connection, lives: Sequence[Life]) -> None:
    for tenant in ("acme", "globex"):
        standing = Counter(life.email.status for life in lives if life.email.tenant == tenant)
        assert counts_by_status(connection, tenant) == standing
        listed = page(connection, EmailFilter(tenant, limit=100)).rows
        assert len(listed) == standing.total()


def the_queue_holds_what_is_due(connection: Connection, emails: Sequence[Email]) -> None:
    found = {row.email_id: row for row in connection.execute(select(QUEUE))}
    for email in emails:
        row = found.get(email.id)
        if row is None:
            assert email.due_at is None
        elif row.due_at is None:
            assert email.due_at is None
            assert row.state == "unconfirmed"
        else:
            forgotten = row.requeued_at is not None and email.due_at == email.queued.expires_at
            assert row.due_at == email.due_at or forgotten


@given(chance=chances)
@SOME
def test_batch_sizes_do_not_matter(sqlite: Database, chance: Random) -> None:
    check_batches(sqlite, chance)


@given(chance=chances)
@FEW
def test_batch_sizes_do_not_matter_on_postgresql(postgres: Database, chance: Random) -> None:
    check_batches(postgres, chance)


@given(chance=chances)
@settings(SOME, max_examples=150)
def test_read_models_say_what_the_streams_say(sqlite: Database, chance: Random) -> None:
    check_truth(sqlite, chance)


@given(chance=chances)
@FEW
def test_read_models_say_what_the_streams_say_on_postgresql(postgres: Database, chance: Random) -> None:
    check_truth(postgres, chance)


@given(chance=chances)
@SOME
def test_the_queue_agrees_with_the_aggregate_after_every_event(sqlite: Database, chance: Random) -> None:
    (life,) = history(chance, emails=1, steps=25)
    with scratch(sqlite) as connection:
        for end, recorded in enumerate(numbered(life.events), 1):
            fold(connection, [[recorded]])
            email = Email.of(life.events[:end])
            if email and not isinstance(recorded.event, e.EmailDispatched):  # what it put off follows in one commit
                the_queue_holds_what_is_due(connection, [email])
