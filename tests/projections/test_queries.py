"""What can be asked of the read models."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from domain import events as e
from domain.answer import RecipientReport
from domain.email import Email
from domain.status import EmailStatus
from infrastructure.database.engines import Database
from projections.activity import timeline
from projections.email_list import EmailFilter, EmailRow, page
from projections.recipients import by_address
from tests.projections.reading import ALL, numbered, scratch
from tests.samples import LEASE, NOW, queued, stamp, taken

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
    found = by_address(connection, "acme", ADA.upper())
    assert [row["email_id"] for row in found] == [known[n].id for n in (6, 4, 2, 0)]
    assert (found[2]["status"], found[2]["bounce_class"], found[2]["smtp_status"]) == ("bounced", "hard", 550)
    assert found[2]["domain"] == "example.com"


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
