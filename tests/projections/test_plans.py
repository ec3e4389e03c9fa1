"""Questions to large read models go by an index: none reads a whole table."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, text

from domain.status import EmailStatus, RecipientStatus
from infrastructure.database.engines import Database
from projections import (
    activity,
    dead_letter_list,
    dead_letters,
    email_list,
    emails,
    recipient_list,
    recipients,
    unconfirmed,
)
from projections.dead_letter_list import DeadLetterFilter
from projections.email_list import EmailFilter
from projections.recipient_list import RecipientFilter
from projections.unconfirmed import DoubtFilter
from tests.postgres import PostgresServer
from tests.projections.reading import scratch

MODELS = (emails.PROJECTION, recipients.PROJECTION, activity.PROJECTION, dead_letters.PROJECTION)
SIZE = 20_000
START = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(bytes=f"{SIZE // 2:016}".encode())
ADDRESS = "person7@example7.com"

# Ten thousand seconds of mail: 1 in 50 bounced, 500 people at 100 domains; written in both databases' tongue.
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size}) "
FILL = {
    "emails_v2": """(id, tenant, queued_position, created_at, sender, subject, envelope, status, last_event, provider,
        attempts, updated_at, position, standing) {numbers}
        SELECT {id}, 'acme', i, {at}, 'shop@example.org', 'Invoice', '{{}}',
        CASE WHEN i % 50 = 0 THEN 'bounced' ELSE 'delivered' END, 'delivered',
        CASE WHEN i % 20 = 0 THEN 'backup' ELSE 'main' END, 1, {at}, i, '{{}}' FROM n""",
    "email_terms_v2": """(tenant, term, queued_position) {numbers}, terms(term, every) AS (VALUES ('w:invoice', 1),
        ('t:kind', 1), ('r:person7@example7.com', 500), ('d:example7.com', 100), ('s:news', 3))
        SELECT 'acme', term, i FROM n, terms WHERE i % every = 0""",
    "recipients_v2": """(email_id, id, tenant, queued_position, created_at, kind, address, name, key, domain, status,
        handed_over, provider, bounce_class) {numbers}
        SELECT {id}, {id}, 'acme', i, {at}, 'to', 'x', '', 'person' || (i % 500) || '@example' || (i % 100) || '.com',
        'example' || (i % 100) || '.com', CASE WHEN i % 50 = 0 THEN 'bounced' ELSE 'delivered' END, {true},
        CASE WHEN i % 20 = 0 THEN 'backup' ELSE 'main' END, CASE WHEN i % 50 = 0 THEN 'hard' END FROM n""",
}
WORDS = {
    "sqlite": {"id": "CAST(printf('%016d', i) AS BLOB)", "at": "{start} + i * 1000000", "true": "1"},
    "postgresql": {
        "id": "encode(convert_to(lpad(i::text, 16, '0'), 'UTF8'), 'hex')::uuid",
        "at": "'2026-01-01T00:00Z'::timestamptz + i * interval '1 second'",
        "true": "true",
    },
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Connection]:
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('plans')}/x.db"
    url = sqlite if request.param == "sqlite" else postgres_server.fresh_database()
    database = Database.open(url)
    with scratch(database, [*MODELS, unconfirmed.PROJECTION]) as connection:
        words = {name: value.format(start=int(START.timestamp() * 1e6)) for name, value in WORDS[database.kind].items()}
        percent = "%%" if database.kind == "postgresql" else "%"  # as the drivers want it written
        for table, rows in FILL.items():
            statement = rows.format(numbers=NUMBERS.format(size=SIZE), **words)
            connection.exec_driver_sql(f"INSERT INTO {table} {statement}".replace("%", percent))
        connection.execute(text("ANALYZE"))
        yield connection
    database.close()
    if url != sqlite:
        postgres_server.drop_database(url)


class Explained:
    """Every question put on a connection, with its plan."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.asked: list[tuple[str, Any]] = []

    def __enter__(self) -> "Explained":
        event.listen(self.connection, "before_cursor_execute", self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.connection, "before_cursor_execute", self._hear)

    def _hear(self, _c: Engine, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        self.asked.append((statement, parameters))

    def plans(self) -> list[str]:
        explain = "EXPLAIN " if self.connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        found = [self.connection.exec_driver_sql(explain + asked, given) for asked, given in self.asked]
        return ["\n".join(str(row[-1]) for row in plan) for plan in found]


_SCAN = re.compile(r"SCAN \w+_v\d")  # not of what is constant, or empty


def badly(plan: str) -> bool:
    """Whether it reads a whole table, or a whole index."""
    return any("Seq Scan" in line or _SCAN.match(line) is not None for line in plan.splitlines())


OF_EMAILS: tuple[dict[str, Any], ...] = (
    {},
    {"after_id": ID},
    {"before_id": ID},
    {"status": EmailStatus.BOUNCED},
    {"status": EmailStatus.CANCELLED},
    {"provider": "backup"},
    {"recipient": ADDRESS},
    {"recipient_domain": "example7.com"},
    {"subject": "invoice"},
    {"subject": "invoice", "tag": ("kind", None)},
    {"subject": "invoice", "status": EmailStatus.BOUNCED},
    {"stream": "news", "provider": "backup"},
    {"recipient": ADDRESS, "status": EmailStatus.BOUNCED},
    {"until": START + timedelta(seconds=200)},
    {"until": START + timedelta(seconds=200), "subject": "invoice"},
    {"since": START + timedelta(seconds=SIZE - 200), "stream": "news"},
)
OF_PEOPLE: tuple[dict[str, Any], ...] = (
    {},
    {"after": (SIZE // 2, ID)},
    {"before": (SIZE // 2, ID)},
    {"address": ADDRESS},
    {"prefix": "person"},
    {"prefix": "person77@"},
    {"prefix": "nobody"},
    {"domain": "example7.com"},
    {"status": RecipientStatus.BOUNCED},
    {"bounce_class": "hard", "provider": "backup"},
    {"provider": "backup"},
    {"domain": "example7.com", "status": RecipientStatus.DELIVERED},
    {"until": START + timedelta(seconds=200)},
)
QUESTIONS: dict[str, Callable[[Connection], object]] = {
    **{f"emails {wanted}": partial(email_list.page, wanted=EmailFilter("acme", **wanted)) for wanted in OF_EMAILS},
    **{
        f"recipients {wanted}": partial(recipient_list.page, wanted=RecipientFilter("acme", **wanted))
        for wanted in OF_PEOPLE
    },
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_to_a_list_goes_by_an_index(filled: Connection, name: str) -> None:
    with Explained(filled) as explained:
        QUESTIONS[name](filled)
    plans = explained.plans()
    assert plans
    assert not [plan for plan in plans if badly(plan)]


def test_a_scan_would_be_seen(filled: Connection) -> None:
    with Explained(filled) as explained:
        filled.execute(text("SELECT count(*) FROM recipients_v2 WHERE smtp_status = 550"))
    assert all(map(badly, explained.plans()))


def test_small_lists_and_timelines_have_their_indexes_too(filled: Connection) -> None:
    if filled.dialect.name == "postgresql":  # they are empty, and what is empty is read as a whole
        filled.execute(text("SET LOCAL enable_seqscan = off"))
    with Explained(filled) as explained:
        activity.timeline(filled, "acme", ADDRESS)
        dead_letter_list.page(filled, DeadLetterFilter("acme", provider="main"))
        unconfirmed.page(filled, DoubtFilter(after=5))
    assert not [plan for plan in explained.plans() if badly(plan)]
