"""The dead letters are the emails that ended while somebody has not got them: exactly those, and found in many ways."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, select

from domain import events as e
from domain.answer import Answer, RecipientReport
from domain.delivery import ErrorClass
from domain.email import Email
from domain.ids import uuid7
from domain.outlook import Outlook
from domain.status import EmailStatus
from infrastructure.database.engines import Database
from projections import dead_letters
from projections.dead_letter_list import DeadLetter, DeadLetterFilter, count, newest, page
from projections.dead_letters import LETTERS
from projections.dispatch_queue import QUEUE
from projections.emails import EMAILS
from projections.recipients import RECIPIENTS
from tests.postgres import PostgresServer
from tests.projections.reading import ALL, batches, numbered, rows, scratch
from tests.samples import LEASE, NOW, queued, stamp, taken
from tests.strategies import Life, chances, history, woven

ONLY = (dead_letters.PROJECTION,)
SOME = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LATER = NOW + timedelta(hours=1)
HARD = {"bounce_class": "hard", "reason": "no_mailbox"}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('dead_letters')}/postledger.db")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    server.drop_database(url)


def expected(life: Life) -> tuple[Any, ...]:
    outlook = Outlook.of(life.events)
    standing = outlook.standing
    return (
        *(life.email.tenant, standing.status.value, outlook.provider, outlook.error_class, outlook.reason),
        *(standing.attempt, len(standing.undelivered)),
    )


@given(chance=chances)
@SOME
def test_it_holds_what_the_standings_say_however_the_log_is_cut(database: Database, chance: Random) -> None:
    lives = history(chance, emails=chance.randrange(1, 12), steps=14)
    log = numbered(woven(chance, lives))
    with scratch(database, ONLY) as connection:
        dead_letters.fold(connection, dead_letters.tables(), log)
        whole = rows(connection, ONLY)
    with scratch(database, ONLY) as connection:
        for batch in batches(chance, log):
            dead_letters.fold(connection, dead_letters.tables(), batch)
        assert rows(connection, ONLY) == whole
        found = {row.email_id: row for row in connection.execute(select(LETTERS))}
    dead = [life for life in lives if life.email.standing.is_dead_letter]
    assert set(found) == {life.email.id for life in dead}
    for life in dead:
        row = found[life.email.id]
        shown = (row.tenant, row.status, row.provider, row.error_class, row.reason)
        assert (*shown, row.attempts, row.recipients_failed) == expected(life)
        assert row.ended_at in {event.occurred_at for event in life.events}
        assert log[row.position - 1].event.originator_id == life.email.id


def test_the_courses_hold_nobodys_address(database: Database) -> None:
    email = queued("ada@example.com")
    with scratch(database, ONLY) as connection:
        dead_letters.fold(connection, dead_letters.tables(), numbered(email.collect_events()))
        assert "ada" not in connection.execute(select(dead_letters.COURSES.c.course)).scalar_one()


class Log:
    """Emails whose events are folded into every read model as they come."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.length = 0

    def take(self, *emails: Email) -> None:
        events = [event for email in emails for event in email.collect_events()]
        log = numbered([*[events[0]] * self.length, *events])[self.length :]
        self.length += len(events)
        for projection in ALL:
            projection.fold(self.connection, projection.tables(""), log)

    def dead(self, **wanted: Any) -> tuple[DeadLetter, ...]:
        return page(self.connection, DeadLetterFilter(**wanted)).rows


@pytest.fixture
def log(database: Database) -> Iterator[Log]:
    with scratch(database) as connection:
        yield Log(connection)


def told(email: Email, kind: type[e.RecipientEvent], raw: int | None = None, **details: Any) -> None:
    """What the provider says of everybody; `raw` is the delivery it is in."""
    for person in email.standing.recipients:
        entry = uuid7(NOW) if raw is None else UUID(int=raw)
        report = RecipientReport(kind, person, "main", LATER, details=details, keys=(f"k-{raw}",), raw=entry)
        email.report_all([report], stamp(LATER))


def sent(*to: str, **fields: Any) -> Email:
    email = queued(*to, **fields)
    email.conclude(email.start_delivery("main", "default", LEASE, stamp()), taken(email), stamp(), chance=0)
    return email


def failed(*to: str, provider: str = "main", error_class: ErrorClass = ErrorClass.PERMANENT, **fields: Any) -> Email:
    email = queued(*to, **fields)
    answer = Answer(error_class=error_class, reason="refused")
    email.conclude(email.start_delivery(provider, "default", LEASE, stamp()), answer, stamp(LATER), chance=0)
    return email


def test_a_bounce_after_the_delivery_is_a_dead_letter_and_a_correction_takes_it_away_again(log: Log) -> None:
    email = sent()
    told(email, e.EmailRecipientDelivered)
    log.take(email)
    assert log.dead() == ()
    told(email, e.EmailRecipientDeliveryFailed, raw=7, **HARD)
    log.take(email)
    (letter,) = log.dead()
    assert (letter.status, letter.error_class, letter.reason) == (EmailStatus.BOUNCED, None, "no_mailbox")
    assert (letter.provider, letter.attempts, letter.recipients_failed) == ("main", 1, 1)
    told(email, e.EmailRecipientDeferred, raw=7)
    log.take(email)
    assert log.dead() == ()


def test_a_better_reading_of_the_same_words_changes_the_reason_and_not_the_place(log: Log) -> None:
    email = sent()
    told(email, e.EmailRecipientDeliveryFailed, raw=7, **HARD)
    log.take(email)
    (before,) = log.dead()
    told(email, e.EmailRecipientDeliveryFailed, raw=7, bounce_class="soft", reason="mailbox_full")
    log.take(email)
    (after,) = log.dead()
    assert (before.reason, after.reason) == ("no_mailbox", "mailbox_full")
    assert (after.position, after.ended_at) == (before.position, before.ended_at)


def test_sent_again_it_is_gone_and_failed_again_it_is_the_newest(log: Log) -> None:
    first, second = failed(), failed()
    log.take(first, second)
    assert [letter.email_id for letter in log.dead()] == [second.id, first.id]
    first.requeue("mended", stamp(LATER), provider="backup")
    log.take(first)
    assert [letter.email_id for letter in log.dead()] == [second.id]
    answer = Answer(error_class=ErrorClass.PERMANENT, reason="refused again")
    first.conclude(first.start_delivery("backup", "chosen", LEASE, stamp(LATER)), answer, stamp(LATER), chance=0)
    log.take(first)
    newest = log.dead()[0]
    assert (newest.email_id, newest.provider, newest.reason, newest.attempts) == (
        *(first.id, "backup", "refused again", 2),
    )


def test_what_a_rule_of_ours_left_out_says_which(log: Log) -> None:
    email = queued()
    email.suppress(dict.fromkeys(email.standing.recipients, "hard_bounce"), stamp())
    log.take(email)
    (letter,) = log.dead()
    assert (letter.status, letter.error_class, letter.reason) == (EmailStatus.SUPPRESSED, "suppressed", "hard_bounce")
    assert (letter.provider, letter.attempts) == (None, 0)


def test_cancelled_is_not_dead(log: Log) -> None:
    email = queued()
    email.cancel(stamp())
    log.take(email)
    assert log.dead() == ()


def test_an_expired_email_is_sent_again_without_its_end_in_every_read_model(log: Log) -> None:
    email = queued(expires_at=NOW + timedelta(minutes=1))
    email.expire(stamp(LATER))
    log.take(email)
    (letter,) = log.dead()
    assert (letter.status, letter.reason, letter.ended_at) == (EmailStatus.EXPIRED, "expired", LATER)
    email.requeue("still wanted", stamp(LATER))
    log.take(email)
    assert log.dead() == ()
    (due,) = log.connection.execute(select(QUEUE.c.due_at, QUEUE.c.expires_at, QUEUE.c.state)).all()
    assert tuple(due) == (LATER, None, "waiting")
    assert log.connection.execute(select(EMAILS.c.status)).scalar_one() == "queued"
    assert log.connection.execute(select(RECIPIENTS.c.status)).scalar_one() == "pending"
    email.conclude(email.start_delivery("main", "default", LEASE, stamp(LATER)), taken(email), stamp(LATER), chance=0)
    told(email, e.EmailRecipientDelivered)
    log.take(email)
    assert log.connection.execute(select(EMAILS.c.status)).scalar_one() == "delivered"
    assert log.connection.execute(select(QUEUE.c.email_id)).all() == []
    assert log.dead() == ()


@pytest.fixture
def filled(log: Log) -> dict[Any, str]:
    """Seven dead letters, a to g, the last one another tenant's; of e Ada got hers, and Bob did not."""
    partly = queued("ada@example.com", "bob@example.com")
    ada, bob = partly.standing.recipients
    answer = Answer(
        messages=(e.ProviderMessage(recipient_id=ada, message_id="m"),),
        reports=(RecipientReport(e.EmailRecipientDeliveryFailed, bob, "main", NOW, details=HARD),),
    )
    partly.conclude(partly.start_delivery("main", "default", LEASE, stamp()), answer, stamp(LATER), chance=0)
    partly.report(RecipientReport(e.EmailRecipientDelivered, ada, "main", LATER, raw=uuid7(NOW)), stamp(LATER))
    expired = queued("Ada@Example.com", expires_at=NOW)
    expired.expire(stamp(NOW))
    emails = [
        failed("ada@example.com"),
        failed("bob@example.com", provider="backup"),
        failed("cy@example.com", stream="news"),
        failed("cy@example.com", error_class=ErrorClass.SUPPRESSED),
        partly,
        expired,
        failed("ada@example.com", tenant="globex"),
    ]
    log.take(*emails)
    return {email.id: name for email, name in zip(emails, "abcdefg", strict=True)}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "gfedcba"),
        ({"tenant": "default"}, "fedcba"),
        ({"tenant": "nobody"}, ""),
        ({"status": EmailStatus.EXPIRED}, "f"),
        ({"status": EmailStatus.PARTIALLY_DELIVERED}, "e"),
        ({"provider": "backup"}, "b"),
        ({"error_class": "permanent"}, "gcba"),
        ({"error_class": "suppressed", "provider": "main"}, "d"),
        ({"reason": "no_mailbox"}, "e"),
        ({"stream": "news"}, "c"),
        ({"sender_domain": "example.org", "limit": 1}, "g"),
        ({"sender_domain": "example.com"}, ""),
        ({"since": LATER}, "gedcba"),
        ({"until": LATER}, "f"),
        ({"recipient": "ADA@example.com"}, "gfa"),
        ({"recipient": "ada@example.com", "tenant": "default"}, "fa"),
        ({"recipient": "bob@example.com"}, "eb"),
        ({"limit": 2}, "gf"),
    ],
)
def test_they_are_found(log: Log, filled: dict[Any, str], wanted: dict[str, Any], found: str) -> None:
    assert "".join(filled[letter.email_id] for letter in log.dead(**wanted)) == found
    everything = {name: value for name, value in wanted.items() if name != "limit"}
    assert count(log.connection, DeadLetterFilter(**everything)) == len(log.dead(**everything))


def test_pages_follow_one_another_both_ways_whatever_goes_meanwhile(log: Log, filled: dict[Any, str]) -> None:
    first = page(log.connection, DeadLetterFilter(limit=3))
    assert first.has_more
    log.connection.execute(LETTERS.delete().where(LETTERS.c.email_id == first.rows[-1].email_id))
    rest = page(log.connection, DeadLetterFilter(limit=4, after=first.rows[-1].position))
    assert ("".join(filled[letter.email_id] for letter in rest.rows), rest.has_more) == ("dcba", False)
    oldest = log.dead(limit=2, before=0)
    assert "".join(filled[letter.email_id] for letter in oldest) == "ba"
    between = log.dead(limit=9, before=oldest[0].position, after=newest(log.connection))
    assert "".join(filled[letter.email_id] for letter in between) == "fdc"
