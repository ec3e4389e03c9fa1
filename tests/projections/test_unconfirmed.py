"""The emails in doubt, for as long as they are."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, select

from domain import events as e
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.outlook import Outlook
from domain.status import EmailStatus
from infrastructure.database.engines import Database
from projections import unconfirmed
from projections.unconfirmed import PROJECTION, UNCONFIRMED, DoubtFilter, count, page
from tests.projections.reading import batches, numbered, rows, scratch
from tests.samples import LEASE, NOW, queued, stamp
from tests.strategies import Life, chances, history, woven

ONLY = (PROJECTION,)


@given(chance=chances)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_holds_what_the_standings_say_however_the_log_is_cut(sqlite: Database, chance: Random) -> None:
    lives = history(chance, emails=chance.randrange(1, 12), steps=14)
    log = numbered(woven(chance, lives))
    with scratch(sqlite, ONLY) as connection:
        unconfirmed.fold(connection, (UNCONFIRMED,), log)
        whole = rows(connection, ONLY)
    with scratch(sqlite, ONLY) as connection:
        for batch in batches(chance, log):
            unconfirmed.fold(connection, (UNCONFIRMED,), batch)
        assert rows(connection, ONLY) == whole
        they_stand_as_their_streams_say(connection, lives)


def they_stand_as_their_streams_say(connection: Connection, lives: Sequence[Life]) -> None:
    found = {row.email_id: row for row in connection.execute(select(UNCONFIRMED))}
    doubtful = [life for life in lives if life.email.status is EmailStatus.UNCONFIRMED]
    assert set(found) == {life.email.id for life in doubtful}
    for life in doubtful:
        row, outlook, attempt = found[life.email.id], Outlook.of(life.events), life.email.standing.attempt
        began = next(x for x in life.events if isinstance(x, e.EmailDeliveryUnconfirmed) and x.attempt == attempt)
        assert (row.tenant, row.attempt, row.since) == (life.email.tenant, attempt, began.occurred_at)
        assert (row.provider, row.reason, row.settle_at) == (outlook.provider, outlook.reason, outlook.settle_at)


def doubtful(minute: int, provider: str = "main", **fields: Any) -> Email:
    now = NOW + timedelta(minutes=minute)
    email = queued(now=now, **fields)
    answer = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
    email.conclude(email.start_delivery(provider, "default", LEASE, stamp(now)), answer, stamp(now), chance=0)
    return email


@pytest.fixture
def filled(database_url: str) -> Iterator[Connection]:
    """Three of Acme's, one of them parked, and one of Globex's."""
    database = Database.open(database_url)
    parked = doubtful(0, tenant="acme", policy=DeliveryPolicy(in_doubt="at_most_once"))
    parked.settle(None, stamp(NOW + timedelta(hours=1)))
    some = [doubtful(1, "backup", tenant="acme"), doubtful(2, tenant="globex"), doubtful(3, tenant="acme")]
    with scratch(database, ONLY) as connection:
        events = [event for email in (parked, *some) for event in email.collect_events()]
        unconfirmed.fold(connection, (UNCONFIRMED,), numbered(events))
        yield connection
    database.close()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3]),
        ({"tenant": "acme"}, [0, 1, 3]),
        ({"provider": "backup"}, [1]),
        ({"until": NOW + timedelta(minutes=2)}, [0, 1]),
        ({"limit": 2}, [0, 1]),
    ],
)
def test_they_are_found_the_oldest_first(filled: Connection, wanted: dict[str, Any], found: list[int]) -> None:
    shown = page(filled, DoubtFilter(**wanted))
    assert [(doubt.since - NOW) // timedelta(minutes=1) for doubt in shown.rows] == found
    assert shown.has_more == ("limit" in wanted)
    assert count(filled, DoubtFilter(**wanted)) == (4 if "limit" in wanted else len(found))


def test_a_parked_one_has_no_time(filled: Connection) -> None:
    parked, waiting, *_ = page(filled, DoubtFilter()).rows
    assert (parked.settle_at, parked.reason, parked.since) == (None, "no_evidence", NOW)
    assert waiting.settle_at == NOW + timedelta(minutes=1) + DeliveryPolicy().settle_after


def test_pages_follow_one_another(filled: Connection) -> None:
    first, second, third, fourth = (doubt.position for doubt in page(filled, DoubtFilter()).rows)
    assert [doubt.position for doubt in page(filled, DoubtFilter(after=second)).rows] == [third, fourth]
    assert [doubt.position for doubt in page(filled, DoubtFilter(after=first, up_to=third)).rows] == [second, third]
