"""What every read model owes the engine: the example of docs/adding-a-projection.md as well as those in use."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import BigInteger, Connection, Table

from application.ports import Part, Recorded
from domain.events import EmailRecipientClicked
from infrastructure.bootstrap import PROJECTIONS
from infrastructure.database.engines import Database
from projections.columns import Id
from projections.projection import Projection, stream_column
from tests import docs_clicks
from tests.projections.reading import batches, numbered, rows, scratch
from tests.strategies import chances, history, listed, woven

EVERY: tuple[Projection, ...] = (*PROJECTIONS, docs_clicks.PROJECTION)
TABLES = [table for projection in EVERY for table in projection.tables("")]
FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAGE = (Path(__file__).parents[2] / "docs/adding-a-projection.md").read_text()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_has_rows_about_streams_or_sums(table: Table) -> None:
    column = stream_column(table)
    if column is not None:
        assert isinstance(table.c[column].type, (Id, BigInteger))
        return
    *key, last = table.columns
    assert table.info == {"sums": True}
    assert [column.primary_key for column in (*key, last)] == [True] * len(key) + [False]
    assert isinstance(last.type, BigInteger)


@pytest.mark.parametrize("projection", EVERY, ids=lambda projection: projection.name)
def test_names_of_tables_and_indexes_hold_the_version_and_end_in_the_suffix(projection: Projection) -> None:
    for table in projection.tables("__x"):
        assert table.name.endswith(f"_v{projection.version}__x")
        assert all(f"_v{projection.version}__x" in str(index.name) for index in table.indexes)


def fold(connection: Connection, pages: Sequence[Sequence[Recorded]]) -> None:
    for page in pages:
        for projection in EVERY:
            projection.fold(connection, projection.tables(""), page)


def folded(database: Database, pages: Sequence[Sequence[Recorded]]) -> object:
    with scratch(database, EVERY) as connection:
        fold(connection, pages)
        return rows(connection, EVERY)


def interleaved(chance: Random, log: Sequence[Recorded]) -> list[Recorded]:
    """Another order of the same events, in which each stream keeps its own."""
    streams: defaultdict[object, list[Recorded]] = defaultdict(list)
    for recorded in log:
        streams[recorded.event.originator_id].append(recorded)
    order = [recorded.event.originator_id for recorded in log]
    chance.shuffle(order)
    return [streams[id].pop(0) for id in order]


@given(chance=chances)
@FEW
def test_neither_batches_nor_parts_nor_the_order_of_streams_matter(database: Database, chance: Random) -> None:
    emails = history(chance, emails=chance.randrange(1, 10), steps=14)
    log = numbered(woven(chance, [*emails, *listed(chance, steps=10)]))
    truth = folded(database, [log])
    assert folded(database, list(batches(chance, log))) == truth
    assert folded(database, list(batches(chance, interleaved(chance, log)))) == truth
    parts = [[r for r in log if Part(number, 3).has(r.event.originator_id)] for number in range(3)]
    assert folded(database, parts) == truth


@given(chance=chances)
@FEW
def test_the_example_counts_clicks(database: Database, chance: Random) -> None:
    log = numbered(woven(chance, history(chance, emails=10, steps=20)))
    clicks = [r.event for r in log if isinstance(r.event, EmailRecipientClicked) and not r.event.machine]
    with scratch(database, EVERY) as connection:
        fold(connection, list(batches(chance, log)))
        for tenant in ("acme", "globex"):
            mine = Counter(urlsplit(click.url).hostname for click in clicks if click.tenant == tenant)
            assert dict(docs_clicks.top_hosts(connection, tenant)) == dict(mine)


def test_the_page_shows_the_example_as_it_is() -> None:
    assert Path(docs_clicks.__file__).read_text().strip() in PAGE
