"""The suppression list as a table says what the aggregates say, and is found in several ways."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from sqlalchemy import Connection

from domain.suppression import Suppression
from infrastructure.database.engines import Database
from projections import suppressions
from projections.suppressions import PROJECTION, SUPPRESSIONS, SuppressionFilter, SuppressionRow, by_address, page
from tests.postgres import PostgresServer
from tests.projections.reading import batches, numbered, rows, scratch
from tests.samples import stamp
from tests.strategies import Listed, chances, listed, woven

ONLY = (PROJECTION,)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('suppressions')}/postledger.db")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    server.drop_database(url)


def shown(connection: Connection, one: Listed) -> dict[str, tuple[str, str]]:
    found = by_address(connection, one.suppression.tenant, one.suppression.address.swapcase())
    return {row.scope: (row.rule, row.reason) for row in found}


@given(chance=chances)
@settings(max_examples=40, deadline=None)
def test_it_says_what_the_aggregates_say_however_the_log_is_cut(database: Database, chance: Random) -> None:
    people = listed(chance, steps=12)
    log = numbered(woven(chance, people))
    with scratch(database, ONLY) as connection:
        suppressions.fold(connection, (SUPPRESSIONS,), log)
        whole = rows(connection, ONLY)
    with scratch(database, ONLY) as connection:
        for batch in batches(chance, log):
            suppressions.fold(connection, (SUPPRESSIONS,), batch)
        assert rows(connection, ONLY) == whole
        for one in people:
            active = one.suppression.active
            assert shown(connection, one) == {scope: (some[0].rule, some[0].reason) for scope, some in active.items()}


@pytest.fixture
def filled(database: Database) -> Iterator[Connection]:
    """Acme's a1 to a5 and the Umlaut, positions 1 to 6; Globex's a1."""
    acme = (
        *(
            ("a1@example.com", "*", "manual"),
            ("a2@example.org", "news", "unsubscribe"),
            ("a3@example.com", "*", "manual"),
        ),
        *(
            ("A_4@example.com", "*", "complaint"),
            ("a%5@example.com", "news", "manual"),
            ("a6@bücher.example", "*", "x"),
        ),
    )
    events = []
    for tenant, entries in (("acme", acme), ("globex", acme[:1])):
        for address, scope, rule in entries:
            suppression = Suppression(tenant, address)
            suppression.add(scope, rule, "api:1", stamp())
            events += suppression.collect_events()
    with scratch(database, ONLY) as connection:
        suppressions.fold(connection, (SUPPRESSIONS,), numbered(events))
        yield connection


def places(found: tuple[SuppressionRow, ...]) -> list[int]:
    return [row.position for row in found]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [6, 5, 4, 3, 2, 1]),
        ({"rule": "manual"}, [5, 3, 1]),
        ({"scope": "news"}, [5, 2]),
        ({"scope": "news", "rule": "manual"}, [5]),
        ({"domain": "example.org"}, [2]),
        ({"domain": "bücher.example"}, [6]),
        ({"prefix": "A1@"}, [1]),
        ({"prefix": "a_"}, [4]),
        ({"prefix": "a%"}, [5]),
        ({"prefix": "example"}, []),
        ({"limit": 2}, [6, 5]),
        ({"limit": 2, "after": 5}, [4, 3]),
        ({"limit": 2, "before": 2}, [4, 3]),
        ({"limit": 2, "before": 0}, [2, 1]),
    ],
)
def test_filters_and_pages(filled: Connection, wanted: dict[str, Any], found: list[int]) -> None:
    assert places(page(filled, SuppressionFilter("acme", **wanted)).rows) == found


def test_a_page_knows_whether_there_is_more_both_ways(filled: Connection) -> None:
    assert page(filled, SuppressionFilter("acme", limit=5)).has_more
    assert not page(filled, SuppressionFilter("acme", limit=6)).has_more
    assert page(filled, SuppressionFilter("acme", limit=3, before=2)).has_more
    assert not page(filled, SuppressionFilter("acme", limit=4, before=2)).has_more


def test_a_row_does_not_show_the_person_in_a_log(filled: Connection) -> None:
    (row,) = by_address(filled, "globex", "a1@example.com")
    assert "a1@" not in repr(row)
    assert row.position == 7
