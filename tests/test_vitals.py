"""How the service is doing, counted from the read models, and no more often than needed."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Connection

from application.vitals import MOST, Signs
from domain.answer import Answer
from domain.delivery import DeliveryPolicy, ErrorClass
from domain.email import Email
from domain.events import Priority
from infrastructure.audit import blocks
from infrastructure.audit.blocks import Block
from infrastructure.database import follower_positions
from infrastructure.database.engines import Database
from infrastructure.database.positions import ProjectionPosition
from infrastructure.vitals import SqlVitals
from projections import dead_letters, dispatch_queue, rows, unconfirmed
from projections.dispatch_queue import QUEUE
from tests.projections.reading import numbered
from tests.samples import LEASE, NOW, queued, stamp

PROJECTIONS = (dispatch_queue.PROJECTION, dead_letters.PROJECTION, unconfirmed.PROJECTION)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Work = Callable[[Connection], None]


def ago(by: timedelta) -> datetime:
    return NOW - by


def attempted(at: datetime, answer: Answer, policy: DeliveryPolicy | None = None) -> Email:
    email = queued(now=at, policy=policy or DeliveryPolicy())
    email.conclude(email.start_delivery("main", "only", LEASE, stamp(at)), answer, stamp(at), chance=0.0)
    return email


def in_doubt(at: datetime) -> Email:
    return attempted(at, Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost"))


def parked(at: datetime) -> Email:
    lost = Answer(error_class=ErrorClass.UNKNOWN, reason="answer_lost")
    email = attempted(at, lost, DeliveryPolicy(in_doubt="at_most_once"))
    email.settle(None, stamp(at + HOUR))
    return email


def failed(at: datetime) -> Email:
    return attempted(at, Answer(error_class=ErrorClass.PERMANENT, reason="rejected"))


def folded(*emails: Email) -> Work:
    log = numbered([event for email in emails for event in email.collect_events()])

    def fold(connection: Connection) -> None:
        for projection in PROJECTIONS:
            projection.fold(connection, projection.tables(""), log)

    return fold


def prepare(connection: Connection) -> None:
    for projection in PROJECTIONS:
        projection.tables("")[0].metadata.create_all(connection)
    follower_positions.create(connection, "suppressions")
    blocks.create(connection, NOW)


async def positions() -> Sequence[ProjectionPosition]:
    return [ProjectionPosition("emails", 1, 90, 10, None, NOW), ProjectionPosition("activity", 1, 100, 0, "Bug", NOW)]


def signs(url: str, *works: Work) -> Signs:
    async def course() -> Signs:
        database = Database.open(url)
        try:
            for work in (prepare, *works):
                await database.tell(work)
            return await SqlVitals(database, positions, 15 * MINUTE, lambda: NOW).read()
        finally:
            database.close()

    return asyncio.run(course())


def test_of_an_empty_service_all_is_zero(database_url: str) -> None:
    found = signs(database_url)
    assert found.queue == {"critical": 0, "normal": 0, "bulk": 0}
    assert (found.scheduled, found.unconfirmed, found.parked, found.dead_letters, found.dead_letters_lately) == (0,) * 5
    assert found.queue_oldest == found.unconfirmed_oldest == timedelta(0)


def test_everything_is_counted_where_it_stands(database_url: str) -> None:
    begun = queued(now=ago(HOUR))
    begun.start_delivery("main", "only", LEASE, stamp(ago(MINUTE)))
    emails = (
        *(
            queued(now=ago(2 * MINUTE)),
            queued(now=ago(7 * MINUTE)),
            queued(now=ago(MINUTE), priority=Priority.CRITICAL),
        ),
        *(queued(now=ago(HOUR), send_at=NOW + HOUR), begun),
        *(attempted(ago(MINUTE), Answer(error_class=ErrorClass.TRANSIENT, reason="http_503", retry_after=HOUR)),),
        *(in_doubt(ago(3 * MINUTE)), in_doubt(ago(2 * MINUTE)), parked(ago(5 * HOUR))),
        *(failed(ago(MINUTE)), failed(ago(HOUR))),
    )
    found = signs(database_url, folded(*emails))
    assert found.queue == {"critical": 1, "normal": 2, "bulk": 0}
    assert found.queue_oldest == 7 * MINUTE
    assert found.scheduled == 2  # one by the client, one to be tried again
    assert (found.unconfirmed, found.parked, found.unconfirmed_oldest) == (3, 1, 5 * HOUR)
    assert (found.dead_letters, found.dead_letters_lately) == (2, 1)


def test_what_waits_in_a_lane_is_as_old_as_it_is(database_url: str) -> None:
    """An email that was looked at, and put back for its provider is down, has still been due since then."""

    def hold(connection: Connection) -> None:
        later = QUEUE.update().values(lane="route:default", claimable_at=NOW + MINUTE)
        connection.execute(later)

    found = signs(database_url, folded(queued(now=ago(9 * MINUTE))), hold)
    assert (found.queue["normal"], found.queue_oldest, found.scheduled) == (1, 9 * MINUTE, 0)


def test_counting_stops(database_url: str) -> None:
    def many(connection: Connection) -> None:
        email = queued(now=ago(MINUTE))
        folded(email)(connection)
        (row,) = rows.fetch(connection, QUEUE, "email_id", [email.id])
        rows.insert(connection, QUEUE, [(uuid4(), *row[1:]) for _ in range(MOST + 5)])

    assert signs(database_url, many).queue["normal"] == MOST


def test_read_models_and_followers_say_whether_they_are_held(database_url: str) -> None:
    found = signs(database_url, lambda c: follower_positions.record_error(c, "suppressions", "Bug after position 3"))
    assert {(model.name, model.lag, model.held) for model in found.read_models} == {
        *{("emails", 10, False), ("activity", 0, True), ("follower:suppressions", 0, True)}
    }


def test_what_no_block_of_the_audit_chain_holds_is_counted(database_url: str) -> None:
    def chained(connection: Connection) -> None:
        blocks.append(connection, Block(1, 1, 60, 60, 60, b"", b"chain"), NOW)

    assert signs(database_url).unchained == 100  # the read models stand at 90 and 10 behind
    assert signs(database_url, chained).unchained == 40


@pytest.mark.parametrize(("fresh", "looks"), [(60.0, 1), (0.0, 8)])
def test_many_who_ask_at_once_share_one_look(sqlite_url: str, fresh: float, looks: int) -> None:
    looked = 0

    async def counted() -> Sequence[ProjectionPosition]:
        nonlocal looked
        looked += 1
        return []

    async def course() -> None:
        database = Database.open(sqlite_url)
        try:
            await database.tell(prepare)
            vitals = SqlVitals(database, counted, HOUR, lambda: NOW, fresh=fresh)
            await asyncio.gather(*(vitals.read() for _ in range(8)))
        finally:
            database.close()

    asyncio.run(course())
    assert looked == looks
