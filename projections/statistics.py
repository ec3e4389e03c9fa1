"""How much mail, how it fared and how long it took: sums per UTC hour and tenant, by one dimension at a time.

Each email has an account, which says what of it counts; a fold moves the sums by what changed. So they do not hang on
batches, streams may be folded in any order, and no report counts twice. Times are kept as counts of a sketch's buckets,
which add up over hours and days.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text

from domain import events as e
from projections import rows
from projections.columns import Id
from projections.projection import SUMS, Events, Projection, Tables, of_kinds, of_stream
from projections.statistics_account import FOLLOWED, Account
from projections.statistics_measures import BRIEFLY, Dimension
from projections.statistics_person import Share

_Sums = Counter[rows.Row]  # the key of a row, and by how much it changes


def tables(suffix: str = "") -> Tables:
    """What of each email counts, the counts, and the times."""
    metadata = MetaData()
    accounts = Table(
        f"statistics_emails_v1{suffix}",
        metadata,
        Column("email_id", Id, primary_key=True),
        Column("account", Text, nullable=False),  # JSON: statistics_account.Account, without addresses
        info=of_stream("email_id"),
    )
    counts = _sums(f"statistics_v1{suffix}", metadata)
    Index(f"{counts.name}_by_value", *(counts.c[name] for name in ("tenant", "dimension", "value", "hour")))
    times = _sums(f"statistics_times_v1{suffix}", metadata, Column("bucket", Integer, primary_key=True))
    return accounts, counts, times


def _sums(name: str, metadata: MetaData, *more: Column[int]) -> Table:
    return Table(
        name,
        metadata,
        Column("tenant", String, primary_key=True),
        Column("dimension", String, primary_key=True),
        Column("hour", Integer, primary_key=True, autoincrement=False),  # since 1970
        Column("value", Text, primary_key=True),
        Column("measure", String, primary_key=True),
        *more,
        Column("total", BigInteger, nullable=False),
        info=SUMS,
    )


ACCOUNTS, COUNTS, TIMES = tables()


def fold(connection: Connection, into: Tables, events: Events) -> None:
    accounts, counts, times = into
    new = {event.originator_id: event for _, event in of_kinds(events, [e.EmailQueued])}
    later = [p.event for p in events if type(p.event) in FOLLOWED]
    tenants = {event.originator_id: event.tenant for event in (*new.values(), *later)}
    touched = {id: Account.opened(event) for id, event in new.items()}
    touched |= _stored(connection, accounts, tenants.keys() - touched.keys())
    for event in later:
        if account := touched.get(event.originator_id):
            account.take(event)
    counted, timed = _moved((tenants[id], account) for id, account in touched.items())
    rows.insert(connection, accounts, [(id, touched[id].encode()) for id in new])
    changed = [(id, account.encode()) for id, account in touched.items() if id not in new]
    rows.update(connection, accounts, changed, ("email_id", "account"))
    for table, sums in ((counts, counted), (times, timed)):
        # In one order for all who fold at the same time, so that none of them can block each other for ever.
        rows.add(connection, table, [(*key, by) for key, by in sorted(sums.items()) if by], len(table.columns) - 1)


def _stored(connection: Connection, accounts: Table, ids: set[UUID]) -> dict[UUID, Account]:
    return {id: Account.decode(account) for id, account in rows.fetch(connection, accounts, "email_id", ids)}


def _moved(touched: Iterable[tuple[str, Account]]) -> tuple[_Sums, _Sums]:
    """By how much the counts change, and the times."""
    alike: Counter[tuple[str, str, tuple[str, ...], tuple[str, ...], Share]] = Counter()
    for tenant, account in touched:
        account.settle()
        everybody = tuple(sorted({person.domain for person in account.people.values()}))
        for by, share, person in account.moves:
            alike[tenant, account.stream, account.tags, (person.domain,) if person else everybody, share] += by
    counted, timed = _Sums(), _Sums()
    for (tenant, stream, tags, domains, share), by in alike.items():
        measure, hour, provider, bucket = share
        for dimension, value in _places(stream, provider):
            if bucket is None:
                counted[tenant, dimension, hour, value, measure] += by
            else:
                timed[tenant, dimension, hour, value, measure, bucket] += by
        if measure in BRIEFLY:
            for dimension, value in _labels(tags, domains):
                counted[tenant, dimension, hour, value, measure] += by
    return counted, timed


def _places(stream: str, provider: str | None) -> Iterator[tuple[Dimension, str]]:
    """Under what everything counts."""
    yield "all", ""
    yield "stream", stream
    if provider is not None:
        yield "provider", provider


def _labels(tags: Iterable[str], domains: Iterable[str]) -> Iterator[tuple[Dimension, str]]:
    """Under what the main measures count besides: of tags and domains there may be as many as clients like."""
    for tag in tags:
        yield "tag", tag
    for domain in domains:
        yield "domain", domain


PROJECTION = Projection("statistics", 1, tables, fold)
