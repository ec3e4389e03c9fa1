"""The library's own recorder interface works on our table, and its unsafe mode is refused."""

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from eventsourcing.persistence import ApplicationRecorder, IntegrityError, StoredEvent
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.sqlite import SQLiteDatastore
from psycopg.conninfo import conninfo_to_dict

from infrastructure.ledger import postgres, sqlite
from infrastructure.ledger.mapper import EventMapper
from tests.samples import queued, stamp


def datastore(url: str, **options: Any) -> PostgresDatastore:
    info = conninfo_to_dict(url)
    place: dict[str, Any] = {name: str(info.get(name) or "") for name in ("dbname", "host", "user", "password")}
    return PostgresDatastore(**place, port=str(info.get("port", 5432)), **options)


@pytest.fixture
def recorder(database_url: str) -> Iterator[ApplicationRecorder]:
    found: postgres.LedgerRecorder | sqlite.LedgerRecorder
    if database_url.startswith("sqlite"):
        found = sqlite.LedgerRecorder(SQLiteDatastore(str(Path(urlsplit(database_url).path))), Lock())
    else:
        found = postgres.LedgerRecorder(datastore(database_url, max_overflow=2))
    found.create_table()
    yield found
    found.datastore.close()


def cancelled() -> list[StoredEvent]:
    email = queued()
    email.cancel(stamp())
    return [EventMapper().to_stored_event(event) for event in email.collect_events()]


def test_the_librarys_entries_answer_as_it_documents(recorder: ApplicationRecorder) -> None:
    first, second = cancelled(), cancelled()
    assert recorder.insert_events([]) == []
    assert list(recorder.insert_events(first) or ()) == [1, 2]
    assert list(recorder.insert_events(second) or ()) == [3, 4]
    assert list(recorder.select_events(first[0].originator_id)) == first
    assert list(recorder.select_events(first[0].originator_id, gt=1)) == first[1:]
    assert [n.id for n in recorder.select_notifications(2, 10)] == [2, 3, 4]
    assert [n.id for n in recorder.select_notifications(1, 10, topics=["email.cancelled.v1"])] == [2, 4]
    assert recorder.max_notification_id() == 4


def test_a_conflict_raises_the_librarys_exception(recorder: ApplicationRecorder) -> None:
    first, other = cancelled(), queued()
    recorder.insert_events(first)
    event = other.collect_events()[0].model_copy(update={"originator_id": first[0].originator_id})
    with pytest.raises(IntegrityError):
        recorder.insert_events([EventMapper().to_stored_event(event)])


def test_the_unsafe_mode_of_the_library_is_refused(postgres_url: str) -> None:
    unsafe = datastore(postgres_url, enable_db_functions=True)
    with pytest.raises(ValueError, match="lose events"):
        postgres.LedgerRecorder(unsafe)
    unsafe.close()


def test_an_unknown_stream_has_no_events(recorder: ApplicationRecorder) -> None:
    assert list(recorder.select_events(uuid4())) == []
    assert recorder.max_notification_id() is None
