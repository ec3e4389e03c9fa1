"""Questions to the lists of emails and recipients at two sizes: what a page costs, and whether that grows."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from statistics import quantiles

from sqlalchemy import Connection, select, text

from benchmarks.result import Result
from benchmarks.servers import durable_postgres
from domain.status import EmailStatus, RecipientStatus
from infrastructure.bootstrap import now
from infrastructure.database.engines import Database
from projections import recipient_list, recipients
from projections.email_list import EmailFilter, page
from projections.emails import EMAILS, PROJECTION
from projections.recipient_list import RecipientFilter

_ROUNDS = 200  # of each question
_CHUNK = 500_000

# Ten tenants, the first with more than half of the mail; 1 in 50 bounced; 200,000 people at 1,000 domains.
_EMAILS = """
INSERT INTO {emails} (id, tenant, queued_position, created_at, sender, subject, envelope, status, last_event, provider,
  attempts, scheduled_at, updated_at, position, standing)
SELECT md5(i::text)::uuid, {tenant}, i, {start}::timestamptz + i * interval '1 second', 'shop@example.org',
  'Invoice no ' || i, '{{"to":["customer' || i % 200000 || '@example' || i % 1000 || '.com"]}}',
  CASE WHEN i % 50 = 0 THEN 'bounced' WHEN i % 5 = 0 THEN 'dispatched' ELSE 'delivered' END, 'delivered',
  CASE WHEN i % 10 = 0 THEN 'backup' ELSE 'main' END, 1, NULL, {start}::timestamptz, i, '{{}}'
FROM generate_series({first}, {last}) AS i
"""
_PEOPLE = """
INSERT INTO {people} (email_id, id, tenant, queued_position, created_at, kind, address, name, key, domain, status,
  handed_over, provider, bounce_class)
SELECT md5(i::text)::uuid, md5(i::text)::uuid, {tenant}, i, {start}::timestamptz + i * interval '1 second', 'to',
  key, '', key, 'example' || i % 1000 || '.com', CASE WHEN i % 50 = 0 THEN 'bounced' ELSE 'delivered' END, true,
  CASE WHEN i % 10 = 0 THEN 'backup' ELSE 'main' END, CASE WHEN i % 50 = 0 THEN 'hard' END
FROM generate_series({first}, {last}) AS i,
  LATERAL (SELECT 'customer' || i % 200000 || '@example' || i % 1000 || '.com' AS key) AS person
"""
_TENANT = "CASE WHEN i % 100 < 55 THEN 't0' ELSE 't' || (1 + i % 9) END"
_TERMS = """
INSERT INTO {terms} (tenant, term, queued_position)
SELECT {tenant}, term, i FROM generate_series({first}, {last}) AS i, LATERAL unnest(ARRAY[
  'r:customer' || i % 200000 || '@example' || i % 1000 || '.com', 'd:example' || i % 1000 || '.com',
  'f:shop@example.org', 's:transactional', 'w:invoice', 'w:no', 'w:' || i, 't:kind',
  't:kind=' || CASE WHEN i % 3 = 0 THEN 'invoice' ELSE 'reminder' END, 'm:order=' || i
]) AS term
"""


def measure(quick: bool, sizes: Sequence[int] = (100_000, 1_000_000)) -> list[Result]:
    results: list[Result] = []
    with durable_postgres() as postgres:
        timed = [_timed(postgres.fresh_database(), size) for size in ((5_000, 20_000) if quick else sizes)]
    small, large = timed
    size = (20_000 if quick else sizes[-1]) * 1.0
    for name, times in large.items():
        p50, p99 = _p(times, 50), _p(times, 99)
        aim = "p99 <= 5 ms" if name == "status by id" else "p99 <= 50 ms"
        note = (
            f"p50 {p50:.2f} ms; with a tenth of it p50 {_p(small[name], 50):.2f} ms, p99 {_p(small[name], 99):.2f} ms"
        )
        results.append(Result(f"{name}, {size:,.0f} emails, p99", "ms", p99, aim=aim, note=note))
    return results


def _p(times: Sequence[float], percent: int) -> float:
    return 1000 * quantiles(times, n=100)[percent - 1]


def _timed(url: str, size: int) -> dict[str, list[float]]:
    database, chance = Database.open(url), random.Random(1)
    _fill(database, size)
    found: dict[str, list[float]] = {}
    with database.read() as connection:
        for name, ask in _questions(size, chance):
            ask(connection)
            times = found.setdefault(name, [])
            for _ in range(_ROUNDS):
                begun = time.perf_counter()
                ask(connection)
                times.append(time.perf_counter() - begun)
    database.close()
    return found


def _questions(size: int, chance: random.Random) -> Iterable[tuple[str, Callable[[Connection], object]]]:
    start = now() - timedelta(days=400)
    mine = EmailFilter("t0")

    def number() -> int:
        return 1 + chance.randrange(size // 100) * 100  # one of the first tenant's

    def customer() -> str:
        i = number()
        return f"customer{i % 200_000}@example{i % 1000}.com"

    def by_id(connection: Connection) -> object:
        id = text("md5(:i)::uuid").bindparams(i=str(number()))
        return connection.execute(select(EMAILS.c.status).where(EMAILS.c.id == id)).all()

    old = start + timedelta(seconds=size // 50)
    yield "status by id", by_id
    for name, make in (
        ("the newest", lambda: mine),
        ("a person", lambda: replace(mine, recipient=customer())),
        ("a domain", lambda: replace(mine, recipient_domain=f"example{number() % 1000}.com")),
        ("a rare word", lambda: replace(mine, subject=str(number()))),
        ("two common words", lambda: replace(mine, subject="invoice no")),
        ("common words and a rare one", lambda: replace(mine, subject=f"invoice no {number()}")),
        ("a common word and a status", lambda: replace(mine, subject="invoice", status=EmailStatus.BOUNCED)),
        ("a tag and a provider", lambda: replace(mine, tag=("kind", "invoice"), provider="backup")),
        ("a person and a status", lambda: replace(mine, recipient=customer(), status=EmailStatus.BOUNCED)),
        ("a time long past", lambda: replace(mine, until=old)),
        ("a time long past and a common word", lambda: replace(mine, until=old, subject="invoice")),
        ("nothing: a status that none has", lambda: replace(mine, status=EmailStatus.CANCELLED)),
        ("nothing: two words that never meet", lambda: replace(mine, subject=f"{number()} {number() + 1}")),
    ):
        yield name, partial(_ask, make)
    us = RecipientFilter("t0")
    for name, find in (
        ("recipients: the newest", lambda: us),
        ("recipients: a person", lambda: replace(us, address=customer())),
        ("recipients: a rare beginning", lambda: replace(us, prefix=customer()[:12])),
        ("recipients: a common beginning", lambda: replace(us, prefix="cust")),
        (
            "recipients: a domain and a status",
            lambda: replace(us, domain="example100.com", status=RecipientStatus.BOUNCED),
        ),
        ("recipients: a bounce and a provider", lambda: replace(us, bounce_class="hard", provider="backup")),
        ("recipients: a time long past", lambda: replace(us, until=old)),
    ):
        yield name, partial(_find, find)


def _ask(make: Callable[[], EmailFilter], connection: Connection) -> object:
    return page(connection, make())


def _find(make: Callable[[], RecipientFilter], connection: Connection) -> object:
    return recipient_list.page(connection, make())


def _fill(database: Database, size: int) -> None:
    emails, postings, _ = PROJECTION.tables("")
    (people,) = recipients.PROJECTION.tables("")
    start = f"'{(now() - timedelta(days=400)).isoformat()}'"
    with database.write() as connection:
        emails.metadata.create_all(connection)
        people.metadata.create_all(connection)
    for first in range(1, size + 1, _CHUNK):
        values = {"tenant": _TENANT, "start": start, "first": first, "last": min(size, first + _CHUNK - 1)}
        with database.write() as connection:
            connection.execute(text(_EMAILS.format(emails=emails.name, **values).replace("::", "\\:\\:")))
            connection.execute(text(_PEOPLE.format(people=people.name, **values).replace("::", "\\:\\:")))
            connection.execute(text(_TERMS.format(terms=postings.name, **values).replace("::", "\\:\\:")))
    with database.write() as connection:
        connection.execute(text(f"ANALYZE {emails.name}, {postings.name}, {people.name}"))
