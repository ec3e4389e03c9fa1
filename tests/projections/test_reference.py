"""However a log is cut, the read models say what a slow and simple look at each history says."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, select

from application.ports import Recorded
from infrastructure.database.engines import Database
from projections import dead_letters, dispatch_queue, emails, recipients, unconfirmed
from projections.dead_letters import LETTERS
from projections.dispatch_queue import QUEUE
from projections.emails import COUNTS, EMAILS
from projections.recipients import RECIPIENTS
from projections.unconfirmed import UNCONFIRMED
from tests.postgres import PostgresServer
from tests.projections import reference
from tests.projections.reading import batches, numbered, rows, scratch
from tests.strategies import Life, chances, history, woven

MODELS = tuple(model.PROJECTION for model in (emails, recipients, dead_letters, unconfirmed, dispatch_queue))
SOME = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Database]:
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('reference')}/postledger.db"
    url = sqlite if request.param == "sqlite" else postgres_server.fresh_database()
    database = Database.open(url)
    yield database
    database.close()
    if url != sqlite:
        postgres_server.drop_database(url)


def fold(connection: Connection, pages: Sequence[Sequence[Recorded]]) -> None:
    for page in pages:
        for model in MODELS:
            model.fold(connection, model.tables(""), page)


def check(connection: Connection, lives: Sequence[Life]) -> None:
    truth = {life.email.id: reference.email(life.events) for life in lives}
    assert dict(_pairs(connection, EMAILS.c.id, EMAILS.c.status)) == {id: each.status for id, each in truth.items()}
    counted = {(tenant, status): count for tenant, status, count in connection.execute(select(COUNTS)) if count}
    assert counted == dict(reference.counts(truth.values()))
    people = dict(_pairs(connection, RECIPIENTS.c.id, RECIPIENTS.c.status))
    assert people == {id: status for each in truth.values() for id, status in each.recipients.items()}
    assert set(connection.scalars(select(LETTERS.c.email_id))) == {id for id, each in truth.items() if each.dead_letter}
    doubts = {id: each.doubt for id, each in truth.items() if each.doubt is not None}
    assert dict(_pairs(connection, UNCONFIRMED.c.email_id, UNCONFIRMED.c.attempt)) == doubts
    assert set(connection.scalars(select(QUEUE.c.email_id))) == {id for id, each in truth.items() if each.queued}


def _pairs(connection: Connection, *columns: object) -> list[tuple[object, object]]:
    return [(row[0], row[1]) for row in connection.execute(select(*columns))]  # type: ignore[call-overload]


def check_history(database: Database, chance: Random) -> None:
    lives = history(chance, emails=chance.randrange(1, 8), steps=18)
    log = numbered(woven(chance, lives))
    with scratch(database, MODELS) as connection:
        fold(connection, [log])
        check(connection, lives)
        at_once = rows(connection, MODELS)
    with scratch(database, MODELS) as connection:
        fold(connection, list(batches(chance, log)))
        assert rows(connection, MODELS) == at_once


@given(chance=chances)
@SOME
def test_read_models_say_what_the_reference_says(database: Database, chance: Random) -> None:
    if database.kind == "sqlite" or chance.random() < 0.3:  # the folds are the same, so a few will do
        check_history(database, chance)
