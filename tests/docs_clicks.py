"""Which links people click: how each email does, and how often each host is visited."""

from collections import Counter
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table, Text, select

from domain import events as e
from projections import rows
from projections.columns import Id, Instant
from projections.projection import SUMS, Events, Projection, Tables, of_stream


def tables(suffix: str = "") -> Tables:
    name, metadata = f"clicks_v1{suffix}", MetaData()
    emails = Table(
        name,
        metadata,
        Column("email_id", Id, primary_key=True),
        Column("tenant", String, nullable=False),
        Column("clicks", Integer, nullable=False),
        Column("last_at", Instant, nullable=False),
        Index(f"{name}_by_tenant", "tenant", "last_at"),
        info=of_stream("email_id"),
    )
    hosts = Table(
        f"click_hosts_v1{suffix}",
        metadata,
        Column("tenant", String, primary_key=True),
        Column("host", Text, primary_key=True),
        Column("clicks", BigInteger, nullable=False),
        info=SUMS,
    )
    return emails, hosts


EMAILS, HOSTS = tables()


# -- fold ------------------------------------------------------------------------------------------------------------


def fold(connection: Connection, into: Tables, events: Events) -> None:
    emails, hosts = into
    clicks = [p.event for p in events if isinstance(p.event, e.EmailRecipientClicked) and not p.event.machine]
    found = rows.fetch(connection, emails, "email_id", {click.originator_id for click in clicks})
    before: dict[UUID, rows.Row] = {row[0]: row for row in found}
    after = dict(before)
    for click in clicks:
        id, at = click.originator_id, click.provider_at
        _, _, count, last_at = after.get(id, (id, click.tenant, 0, at))
        after[id] = (id, click.tenant, count + 1, max(last_at, at))
    rows.insert(connection, emails, [row for id, row in after.items() if id not in before])
    rows.update(connection, emails, [after[id] for id in before], EMAILS.columns.keys())
    visits = Counter((click.tenant, _host(click.url)) for click in clicks)
    rows.add(connection, hosts, [(*key, count) for key, count in sorted(visits.items())], keys=2)


def _host(url: str) -> str:
    """Never fails: a fold that does leaves its stream parked."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


# -- queries ---------------------------------------------------------------------------------------------------------


def top_hosts(connection: Connection, tenant: str, limit: int = 20) -> list[tuple[str, int]]:
    """The hosts that this tenant's mail leads to most, each with how many clicks."""
    c = HOSTS.c
    query = select(c.host, c.clicks).where(c.tenant == tenant).order_by(c.clicks.desc(), c.host).limit(limit)
    return [(host, clicks) for host, clicks in connection.execute(query)]


PROJECTION = Projection("clicks", 1, tables, fold)
