"""Questions to the lists of emails and recipients at two sizes: what a page costs, and whether that grows."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from hashlib import md5
from itertools import count
from statistics import quantiles
from tempfile import TemporaryDirectory
from uuid import UUID

import psycopg
from sqlalchemy import Connection, select, text

from benchmarks.result import Result
from benchmarks.servers import durable_postgres
from domain.status import EmailStatus, RecipientStatus
from infrastructure.bootstrap import now
from infrastructure.database.engines import Database, libpq_url
from projections import recipient_list, recipients, rows
from projections.email_list import EmailFilter, page
from projections.emails import EMAILS, PROJECTION
from projections.recipient_list import RecipientFilter

_ROUNDS = 200  # of each question
_CHUNK = 20_000  # emails at a time

_START = now() - timedelta(days=400)  # a second between each email and the next


def measure(quick: bool) -> list[Result]:
    with durable_postgres() as postgres:
        return _compared("PostgreSQL", postgres.fresh_database, (5_000, 20_000) if quick else (100_000, 1_000_000))


def measure_large(quick: bool) -> list[Result]:
    """Once, for it takes an hour and 40 GB."""
    with durable_postgres() as postgres:
        return _compared("PostgreSQL", postgres.fresh_database, (5_000, 20_000) if quick else (1_000_000, 10_000_000))


def measure_sqlite(quick: bool) -> list[Result]:
    with TemporaryDirectory() as folder:
        urls = (f"sqlite:///{folder}/{number}.db" for number in count())
        return _compared("SQLite", lambda: next(urls), (5_000, 20_000) if quick else (100_000, 1_000_000))


def _compared(kind: str, fresh: Callable[[], str], sizes: tuple[int, int]) -> list[Result]:
    """`fresh` makes an empty database and gives its URL."""
    small, large = (_timed(fresh(), size) for size in sizes)
    results: list[Result] = []
    for name, times in large.items():
        p50, p99 = _p(times, 50), _p(times, 99)
        aim = "p99 <= 5 ms" if name == "status by id" else "p99 <= 50 ms"
        before = f"with {sizes[0]:,} p50 {_p(small[name], 50):.2f} ms, p99 {_p(small[name], 99):.2f} ms"
        note = f"p50 {p50:.2f} ms; {before}"
        results.append(Result(f"{kind}: {name}, {sizes[1]:,} emails, p99", "ms", p99, aim=aim, note=note))
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
    mine = EmailFilter("t0")

    def number() -> int:
        return 1 + chance.randrange(size // 100) * 100  # one of the first tenant's

    def customer() -> str:
        return _person(number())

    def by_id(connection: Connection) -> object:
        return connection.execute(select(EMAILS.c.status).where(EMAILS.c.id == _id(number()))).all()

    old = _START + timedelta(seconds=size // 50)
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


# Ten tenants, the first with more than half of the mail; 1 in 50 bounced; 200,000 people at 1,000 domains.


def _fill(database: Database, size: int) -> None:
    emails, postings, _ = PROJECTION.tables("")
    (people,) = recipients.PROJECTION.tables("")
    with database.write() as connection:
        emails.metadata.create_all(connection)
        people.metadata.create_all(connection)
    for first in range(1, size + 1, _CHUNK):
        numbers = range(first, min(size + 1, first + _CHUNK))
        with database.write() as connection:
            rows.insert(connection, emails, [_email(i) for i in numbers])
            rows.insert(connection, people, [_recipient(i) for i in numbers])
            rows.insert(connection, postings, [(_tenant(i), term, i) for i in numbers for term in _terms(i)])
    if database.kind == "postgresql":
        with psycopg.connect(libpq_url(database.url), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")  # as autovacuum does in its own time
    else:
        with database.write() as writing:
            writing.execute(text("ANALYZE"))


def _id(i: int) -> UUID:
    return UUID(bytes=md5(str(i).encode(), usedforsecurity=False).digest())  # in no order


def _tenant(i: int) -> str:
    return "t0" if i % 100 < 55 else f"t{1 + i % 9}"


def _person(i: int) -> str:
    return f"customer{i % 200_000}@example{i % 1000}.com"


def _provider(i: int) -> str:
    return "main" if i % 10 else "backup"


def _email(i: int) -> rows.Row:
    accepted = (_id(i), _tenant(i), i, _START + timedelta(seconds=i), "shop@example.org", f"Invoice no {i}")
    envelope = f'{{"to":["{_person(i)}"]}}'
    status = "delivered" if i % 50 else "bounced"
    return *accepted, envelope, status, "delivered", _provider(i), 1, None, _START, i, "{}"


def _recipient(i: int) -> rows.Row:
    key, bounced = _person(i), i % 50 == 0
    accepted = (
        _id(i),
        _id(i),
        _tenant(i),
        i,
        _START + timedelta(seconds=i),
        "to",
        key,
        "",
        key,
        f"example{i % 1000}.com",
    )
    standing = ("bounced" if bounced else "delivered", None, None, True, None, None, None)
    return *accepted, *standing, _provider(i), "hard" if bounced else None, None, None, None


def _terms(i: int) -> Iterable[str]:
    kind = "reminder" if i % 3 else "invoice"
    yield from (f"r:{_person(i)}", f"d:example{i % 1000}.com", "f:shop@example.org", "s:transactional")
    yield from ("w:invoice", "w:no", f"w:{i}", "t:kind", f"t:kind={kind}", f"m:order={i}")
