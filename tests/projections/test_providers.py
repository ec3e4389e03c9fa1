"""The read model of the providers says what their streams say, however the log is cut."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings

from domain.events import Event
from domain.provider import Provider
from infrastructure.database.engines import Database
from projections.providers import PROJECTION, PROVIDERS, everyone, fold
from tests.domain.test_provider import REST, asks, trouble
from tests.postgres import PostgresServer
from tests.projections.reading import batches, numbered, rows, scratch
from tests.samples import NOW, queued, stamp
from tests.strategies import chances

ONLY = (PROJECTION,)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('providers')}/postledger.db")
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    server.drop_database(url)


def lived(chance: Random) -> tuple[dict[str, Provider], list[Event]]:
    """Three providers, and what was recorded of them and of an email, in order."""
    known, log, now = {name: Provider(name) for name in ("main", "backup", "third")}, queued().collect_events(), NOW
    for _ in range(chance.randrange(40)):
        now += timedelta(seconds=chance.choice((0, 1, 45, 400)))
        provider = known[chance.choice(tuple(known))]
        asks(chance, now)(provider)
        log += provider.collect_events()
    return known, log


@given(chance=chances)
@settings(max_examples=30, deadline=None)
def test_it_says_what_the_streams_say_however_the_log_is_cut(database: Database, chance: Random) -> None:
    known, events = lived(chance)
    log = numbered(events)
    with scratch(database, ONLY) as connection:
        fold(connection, (PROVIDERS,), log)
        whole = rows(connection, ONLY)
    with scratch(database, ONLY) as connection:
        for batch in batches(chance, log):
            fold(connection, (PROVIDERS,), batch)
        assert rows(connection, ONLY) == whole
        found = everyone(connection)
        assert {name: row.state for name, row in found.items()} == {
            name: provider.state for name, provider in known.items() if provider.state.version
        }
        for name, row in found.items():
            mine = [event.TYPE for event in events if getattr(event, "provider", "") == name]
            assert row.degradations == mine.count("provider.degraded")
            assert (row.pause_reason is not None) == row.state.paused


def test_it_keeps_what_people_ask_about(database: Database) -> None:
    provider = Provider("main")
    provider.degrade(trouble(), REST, stamp())
    provider.recover("send", stamp(NOW + timedelta(minutes=1)))
    provider.pause("moving house", stamp(NOW + timedelta(minutes=2)))
    with scratch(database, ONLY) as connection:
        fold(connection, (PROVIDERS,), numbered(provider.collect_events()))
        row = everyone(connection)["main"]
    assert (row.degradations, row.evidence, row.pause_reason, row.position) == (1, "send", "moving house", 3)
    assert "moving house" not in repr(row)
