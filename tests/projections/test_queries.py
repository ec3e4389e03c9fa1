"""What can be asked of the read models."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from sqlalchemy import Connection

from domain import events as e
from domain.answer import RecipientReport
from domain.email import Email
from domain.standing import RecipientStanding
from domain.status import EmailStatus, RecipientStatus
from infrastructure.database.engines import Database
from projections import email_list, recipient_list, terms
from projections.activity import timeline
from projections.email_list import EmailFilter, EmailRow, page
from projections.emails import PROJECTION as emails_model
from projections.recipient_list import RecipientFilter
from projections.recipients import PROJECTION as recipients_model
from tests.postgres import PostgresServer
from tests.projections.reading import ALL, numbered, scratch
from tests.samples import LEASE, NOW, queued, stamp, taken
from tests.strategies import chances

ADA, BOB = "Ada@example.com", "bob@example.com"


def emails() -> list[Email]:
    """Seven of Acme's, the third sent and bounced, the fifth to Ada and Bob; one of Globex's."""
    some = [
        queued(ADA if n % 2 else BOB, now=NOW + timedelta(minutes=n), tenant="acme", subject=f"No. {n}")
        for n in range(1, 8)
    ]
    some[4] = queued(ADA, BOB, now=NOW, tenant="acme", subject="No. 5", tags=(e.Tag(name="kind", value="invoice"),))
    attempt = some[2].start_delivery("main", "default", LEASE, stamp())
    some[2].conclude(attempt, taken(some[2]), stamp(), chance=0)
    (person,) = some[2].standing.recipients
    details = {"bounce_class": "hard", "smtp_status": 550}
    some[2].report(RecipientReport(e.EmailRecipientDeliveryFailed, person, "main", NOW, details=details), stamp())
    return [*some, queued(ADA, tenant="globex", subject="No. 8")]


@pytest.fixture
def filled(database_url: str) -> Iterator[tuple[Connection, list[Email]]]:
    database, known = Database.open(database_url), emails()
    log = numbered([event for email in known for event in email.collect_events()])
    with scratch(database) as connection:
        for projection in ALL:
            projection.fold(connection, projection.tables(""), log)
        yield connection, known
    database.close()


Filled = tuple[Connection, list[Email]]
Everything = list[Filled]
MODELS = (emails_model, recipients_model)


def subjects(rows: tuple[EmailRow, ...]) -> list[str]:
    return [row.subject for row in rows]


def test_lists_are_newest_first_and_paged_both_ways(filled: Filled) -> None:
    connection, known = filled
    first = page(connection, EmailFilter("acme", limit=3))
    assert (subjects(first.rows), first.has_more) == (["No. 7", "No. 6", "No. 5"], True)
    last = page(connection, EmailFilter("acme", limit=4, after_id=first.rows[-1].id))
    assert (subjects(last.rows), last.has_more) == (["No. 4", "No. 3", "No. 2", "No. 1"], False)
    back = page(connection, EmailFilter("acme", limit=2, before_id=last.rows[0].id))
    assert (subjects(back.rows), back.has_more) == (["No. 6", "No. 5"], True)
    assert page(connection, EmailFilter("acme", after_id=known[-1].id)).rows == ()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"status": EmailStatus.BOUNCED}, ["No. 3"]),
        ({"recipient": "BOB@example.com"}, ["No. 6", "No. 5", "No. 4", "No. 2"]),
        ({"recipient": ADA, "limit": 2}, ["No. 7", "No. 5"]),
        ({"tag": ("kind", "invoice"), "recipient": BOB}, ["No. 5"]),
        ({"tag": ("kind", "welcome")}, []),
        ({"tag": ("kind", None), "recipient": BOB}, ["No. 5"]),
        ({"since": NOW + timedelta(minutes=4), "until": NOW + timedelta(minutes=7)}, ["No. 6", "No. 4"]),
    ],
)
def test_lists_can_be_filtered(filled: Filled, wanted: dict[str, object], found: list[str]) -> None:
    connection, _ = filled
    assert subjects(page(connection, EmailFilter("acme", **wanted)).rows) == found  # type: ignore[arg-type]


def test_a_row_tells_what_a_list_shows(filled: Filled) -> None:
    connection, known = filled
    (row,) = page(connection, EmailFilter("acme", status=EmailStatus.BOUNCED)).rows
    assert (row.id, row.last_event, row.provider, row.attempts) == (known[2].id, "bounced", "main", 1)
    assert row.envelope == {"to": [ADA]}
    assert row.sender == "Postledger <service@example.org>"
    assert row.created_at == known[2].queued.occurred_at


def test_a_recipient_is_found_by_address_with_what_became_of_it(filled: Filled) -> None:
    connection, known = filled
    found = recipient_list.page(connection, RecipientFilter("acme", address=ADA.upper())).rows
    assert [row.email_id for row in found] == [known[n].id for n in (6, 4, 2, 0)]
    assert (found[2].status, found[2].bounce_class, found[2].smtp_status) == ("bounced", "hard", 550)


def test_a_timeline_has_all_that_happened_to_one_person(filled: Filled) -> None:
    connection, known = filled
    entries = timeline(connection, "acme", ADA)
    assert [entry.type.rpartition(".v")[0] for entry in reversed(entries)] == [
        "email.queued",
        "email.queued",
        "email.delivery_started",
        "email.dispatched",
        "email.recipient_delivery_failed",
        "email.queued",
        "email.queued",
    ]
    assert entries[2].summary == {"provider": "main", "bounce_class": "hard", "smtp_status": 550}
    older = timeline(connection, "acme", ADA, limit=2, before=entries[2].position)
    assert older == entries[3:5]
    assert timeline(connection, "acme", ADA, after=entries[2].position) == entries[:2]
    assert {entry.email_id for entry in timeline(connection, "acme", BOB)} == {known[n].id for n in (1, 3, 4, 5)}


def described(event: e.EmailQueued) -> dict[str, set[object]]:
    """What an email is found by, told in plain Python."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", event.subject.casefold()) if not unicodedata.combining(c))
    return {
        "recipient": {r.address for r in event.recipients},
        "recipient_domain": {r.address.rpartition("@")[2] for r in event.recipients},
        "sender": {event.sender.address},
        "subject": set(re.findall(r"\w+", plain)),
        "tag": {(t.name, t.value) for t in event.tags} | {(t.name, None) for t in event.tags},
        "metadata": set(event.metadata.items()),
        "stream": {event.stream},
    }


def one_of_many(chance: Random, number: int) -> Email:
    """An email that shares some of everything with others."""
    words = chance.sample(["Résumé", "invoice", "STRASSE", "über", "no", "42"], 3)
    return queued(
        *chance.sample(["ada@example.com", "bob@example.org", "Cy@Example.net"], chance.randrange(1, 3)),
        now=NOW + timedelta(minutes=number + chance.randrange(-3, 3)),
        tenant=chance.choice(("acme", "globex")),
        subject=" ".join(words),
        tags=(e.Tag(name="kind", value=chance.choice(("invoice", "letter"))),),
        metadata={"order": str(chance.randrange(3))},
        stream=chance.choice(("transactional", "news")),
    )


ASKED: dict[str, list[Any]] = {
    "recipient": ["ada@example.com", "CY@example.NET", "nobody@example.com"],
    "recipient_domain": ["example.org", "EXAMPLE.NET"],
    "sender": ["service@example.org", "other@example.org"],
    "subject": ["resume", "Invoice 42", "strasse UBER", "no, invoice!"],
    "tag": [("kind", None), ("kind", "letter")],
    "metadata": [("order", "1")],
    "stream": ["news"],
    "since": [NOW + timedelta(minutes=20)],
    "until": [NOW + timedelta(minutes=40)],
}


def fits(email: Email, name: str, value: Any) -> bool:
    if name in ("since", "until"):
        return bool(email.queued.occurred_at >= value) == (name == "since")
    known = described(email.queued)[name]
    if name == "subject":
        return set(terms.words(value)) <= known
    if name in ("tag", "metadata"):
        return value in known
    return value.casefold() in {str(each).casefold() for each in known}


@pytest.mark.parametrize("rare", [email_list._RARE, 25])
@given(chance=chances)
@settings(max_examples=25, deadline=None)
def test_pages_in_both_directions_hold_exactly_what_fits(everything: Everything, rare: int, chance: Random) -> None:
    names = chance.sample(sorted(ASKED), chance.randrange(0, 4))
    wanted: dict[str, Any] = {name: chance.choice(ASKED[name]) for name in names}
    for connection, known in everything:
        mine = [email for email in known if email.tenant == "acme"]
        expected = [email.id for email in mine if all(fits(email, *each) for each in wanted.items())][::-1]
        ask = EmailFilter("acme", limit=chance.randrange(1, 30), **wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(email_list, "_RARE", rare)
            assert walk(connection, ask) == expected
            if expected:
                back = page(connection, replace(ask, limit=100, before_id=expected[-1]))
                assert [row.id for row in back.rows] == expected[:-1]


def walk(connection: Connection, ask: EmailFilter) -> list[UUID]:
    found: list[UUID] = []
    while True:
        some = page(connection, replace(ask, after_id=found[-1] if found else None))
        found += [row.id for row in some.rows]
        if not some.has_more:
            return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Everything]:
    """The same emails in both databases."""
    known = [one_of_many(Random(number), number) for number in range(60)]
    log = numbered([event for email in known for event in email.collect_events()])
    url = postgres_server.fresh_database()
    databases = [Database.open(f"sqlite:///{tmp_path_factory.mktemp('queries')}/x.db"), Database.open(url)]
    with ExitStack() as stack:
        connections = [stack.enter_context(scratch(database, MODELS)) for database in databases]
        for connection in connections:
            for model in MODELS:
                model.fold(connection, model.tables(""), log)
        yield [(connection, known) for connection in connections]
    for database in databases:
        database.close()
    postgres_server.drop_database(url)


LOOKED_FOR: dict[str, list[Any]] = {
    "address": ["ADA@example.com", "cy@EXAMPLE.net", "nobody@example.com"],
    "prefix": ["a", "BOB@", "cy@example.net", "x", "%", "_"],
    "domain": ["example.org", "Example.NET"],
    "status": [RecipientStatus.PENDING, RecipientStatus.BOUNCED],
    "since": [NOW + timedelta(minutes=20)],
    "until": [NOW + timedelta(minutes=40)],
}


def is_meant(email: Email, person: RecipientStanding, name: str, value: Any) -> bool:
    if name in ("since", "until"):
        return bool(email.queued.occurred_at >= value) == (name == "since")
    if name == "status":
        return person.status is value
    key, said = person.address.lower(), str(value).lower()
    return {"address": key == said, "prefix": key.startswith(said), "domain": key.endswith(f"@{said}")}[name]


@pytest.mark.parametrize("rare", [recipient_list._RARE, 5])
@given(chance=chances)
@settings(max_examples=20, deadline=None)
def test_lists_of_recipients_hold_exactly_who_is_meant(everything: Everything, rare: int, chance: Random) -> None:
    names = chance.sample(sorted(LOOKED_FOR), chance.randrange(0, 4))
    wanted: dict[str, Any] = {name: chance.choice(LOOKED_FOR[name]) for name in names}
    for connection, known in everything:
        mine = [(email, person) for email in known if email.tenant == "acme" for person in _newest_last(email)]
        expected = [person.id for email, person in mine if all(is_meant(email, person, *w) for w in wanted.items())]
        ask = RecipientFilter("acme", limit=chance.randrange(1, 30), **wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipient_list, "_RARE", rare)
            found = walk_recipients(connection, ask)
            assert [row.id for row in found] == expected[::-1]
            if found:
                back = recipient_list.page(connection, replace(ask, limit=100, before=found[-1].place))
                assert [row.id for row in back.rows] == [row.id for row in found[:-1]]


def _newest_last(email: Email) -> list[RecipientStanding]:
    return sorted(email.standing.recipients.values(), key=lambda person: person.id)


def walk_recipients(connection: Connection, ask: RecipientFilter) -> list[recipient_list.RecipientRow]:
    found: list[recipient_list.RecipientRow] = []
    while True:
        some = recipient_list.page(connection, replace(ask, after=found[-1].place if found else None))
        found += some.rows
        if not some.has_more:
            return found


def test_recipients_are_found_by_how_they_bounced_and_by_provider(filled: Filled) -> None:
    connection, known = filled
    for wanted in ({"bounce_class": "hard"}, {"provider": "main"}, {"bounce_class": "hard", "provider": "main"}):
        found = recipient_list.page(connection, RecipientFilter("acme", **wanted)).rows  # type: ignore[arg-type]
        assert [row.email_id for row in found] == [known[2].id]
        assert recipient_list.page(connection, RecipientFilter("globex", **wanted)).rows == ()  # type: ignore[arg-type]
