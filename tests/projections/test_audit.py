"""The index of who did what and why."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from sqlalchemy import Connection

from domain.answer import Answer
from domain.delivery import ErrorClass
from domain.personal import personal_fields
from infrastructure.database.engines import Database
from projections.audit import PROJECTION, fold, tables
from projections.audit_log import AuditFilter, by_event, correlated, effects, of_stream, page
from tests.projections.reading import numbered, scratch
from tests.samples import LEASE, NOW, queued, stamp, taken
from tests.strategies import chances, history, woven

ONLY = (PROJECTION,)


@pytest.fixture
def filled(database_url: str) -> Iterator[Connection]:
    """Five emails a minute apart, each with three events; the third one is Globex's, the last one failed."""
    database = Database.open(database_url)
    events = []
    for minute in range(5):
        now = NOW + timedelta(minutes=minute)
        email = queued(now=now, tenant="globex" if minute == 2 else "acme")
        attempt = email.start_delivery("main", "default", LEASE, stamp(now, "worker"))
        answer = taken(email) if minute < 4 else Answer(error_class=ErrorClass.PERMANENT, reason="refused")
        email.conclude(attempt, answer, stamp(now, "worker"), chance=0)
        events += email.collect_events()
    with scratch(database, ONLY) as connection:
        fold(connection, tables(), numbered(events))
        yield connection
    database.close()


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({"limit": 2}, [15, 14]),
    ({"tenant": "globex"}, [9, 8, 7]),
    ({"actor": "test"}, [13, 10, 7, 4, 1]),
    ({"tenant": "acme", "type": "email.queued"}, [13, 10, 4, 1]),
    ({"since": NOW + timedelta(minutes=3)}, [15, 14, 13, 12, 11, 10]),
    ({"until": NOW + timedelta(minutes=1)}, [3, 2, 1]),
    ({"since": NOW + timedelta(days=1)}, []),
    ({"after": 3}, [2, 1]),
    ({"before": 13}, [15, 14]),
    ({"before": 3, "limit": 2}, [5, 4]),
    ({"actor": "worker", "type": "email.queued"}, []),
]


def test_what_is_found(filled: Connection) -> None:
    for wanted, found in CASES:
        shown = page(filled, AuditFilter(**wanted))
        assert [row.position for row in shown.rows] == found, wanted
        assert shown.has_more == ("limit" in wanted), wanted


def test_threads_are_followed_both_ways(filled: Connection) -> None:
    newest = page(filled, AuditFilter(limit=1)).rows[0]
    assert by_event(filled, [newest.event_id]) == [newest]
    assert (newest.type, newest.reason) == ("email.delivery_failed", "refused")
    stream = of_stream(filled, newest.stream_id, 10)
    assert [entry.version for entry in stream] == [1, 2, 3]
    assert effects(filled, [stream[0].event_id], 10) == []
    assert [entry.position for entry in correlated(filled, newest.correlation_id, 3)] == [1, 2, 3]


@given(chance=chances)
@settings(max_examples=15, deadline=None)
def test_every_event_has_a_row_and_no_row_what_people_wrote(chance: Random) -> None:
    log = numbered(woven(chance, history(chance, emails=4, steps=12)))
    database = Database.open("sqlite:///:memory:")
    with scratch(database, ONLY) as connection:
        fold(connection, tables(), log)
        rows = page(connection, AuditFilter(limit=1000)).rows
    database.close()
    assert [row.position for row in rows] == [recorded.position for recorded in reversed(log)]
    for row, recorded in zip(rows, reversed(log), strict=True):
        event = recorded.event
        assert (row.event_id, row.stream_id, row.version) == (
            event.event_id,
            event.originator_id,
            event.originator_version,
        )
        assert (row.actor, row.causation_id, row.type) == (event.actor, event.causation_id, event.TYPE)
        personal = {str(getattr(event, name)) for name in personal_fields(type(event))} - {""}
        assert row.reason not in personal
